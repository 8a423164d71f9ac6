"""New initial weights for any Keras model."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import keras
import numpy as np
from keras import ops

from tfprune.errors import ConfigError
from tfprune.models.initial_weights import initializer, layer_seed

_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def initialize(
    model: keras.Model,
    name: str,
    *,
    seed: int | None = None,
    mode: str = "fan_in",
    gain: float | None = None,
    fan_scale: float = 1.0,
    keep_signs: bool = False,
    ignore: Sequence[str] = (),
) -> None:
    """Draws the kernels of a model's convolutions and dense layers anew, in place; nothing else changes.

    A model of `build_model` gets the kernels that `build_model` gives it with the same name and seed. The layers of
    models within the model take part, and a layer that is used several times is drawn once.

    Args:
        model: Any built Keras model.
        name: The weights, one of `initializer_names()`.
        seed: Seed; each layer's follows from it and the layer's name. `None` for other weights every time.
        mode: As in `initializer`.
        gain: As in `initializer`.
        fan_scale: As in `initializer`.
        keep_signs: Give each weight the sign it has (a weight of 0 becomes 0); what is drawn decides its size alone.
        ignore: Names of layers to leave as they are, or patterns of names (`fc*`).

    Raises:
        ConfigError: A name is unknown, a number out of range, or the model has no weights yet.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(16, 3)])
        >>> initialize(model, "kaiming_constant_signed", seed=0)
        >>> round(float(abs(model.layers[0].kernel[0, 0, 0, 0])), 5) == round((2 / 27) ** 0.5, 5)
        True

    Reference:
        Chen et al., Peek-a-Boo (ICLR 2022): the authors' `--init-method`, which makes signed constants of the signs
        that the weights have.
    """
    if not model.built:
        raise ConfigError("expected a built model, received one without weights; call it once, or give it an Input")
    options: dict[str, Any] = {"mode": mode, "gain": gain, "fan_scale": fan_scale}
    initializer(name, **options)  # an unknown name is told even where no layer has a kernel
    for layer, attribute in _kernels(model):
        if any(fnmatchcase(layer.name, pattern) for pattern in ignore):
            continue
        kernel = getattr(layer, attribute)
        label = layer.name if attribute == "kernel" else f"{layer.name}/{attribute}"
        drawn = initializer(name, seed=layer_seed(seed, label), **options)(
            _as_in_out(layer, attribute, tuple(kernel.shape)), dtype=kernel.dtype
        )
        weights = ops.reshape(drawn, kernel.shape)
        kernel.assign(ops.sign(kernel) * ops.abs(weights) if keep_signs else weights)


def _kernels(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, str]]:
    """Every layer with a kernel and the kernel's name, each once."""
    seen: set[int] = set()
    for layer in model._flatten_layers():
        for attribute in _KERNELS:
            kernel = getattr(layer, attribute, None)
            if isinstance(kernel, keras.Variable) and id(kernel) not in seen:
                seen.add(id(kernel))
                yield layer, attribute


def _as_in_out(layer: keras.layers.Layer, attribute: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape of as many entries as the kernel's, `[..., in, out]` by what an output reads.

    Keras counts every channel of a depthwise kernel as read by each output, where one is; and the axes of an
    einsum's kernel stand in any order.
    """
    if attribute == "depthwise_kernel" or isinstance(layer, _DEPTHWISE):
        return (*shape[:-2], 1, shape[-2] * shape[-1])
    if isinstance(layer, keras.layers.EinsumDense):
        operands, outputs = layer.equation.split("->")
        letters = operands.split(",")[1].replace("...", "")
        read = int(np.prod([size for letter, size in zip(letters, shape, strict=True) if letter not in outputs]))
        return (read, int(np.prod(shape)) // read)
    return shape
