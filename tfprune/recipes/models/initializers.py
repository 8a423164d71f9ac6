"""Initial weights by name, as the papers on pruning at initialization use them.

`initializer` returns a Keras initializer, `initialize` redraws the kernels of a built model in place.
`ScaledDistribution` has the distributions that Keras lacks.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from tfprune.arguments import instance, number, optional, seed_number, truth
from tfprune.errors import ConfigError, check_choice
from tfprune.graph.subnet import layer_seed
from tfprune.keras_private import flat_layers
from tfprune.layers.kernels import Kernel, named_kernels
from tfprune.reprs import described, short

Mode = Literal["fan_in", "fan_out"]
_STOCK = ("untruncated_normal", "truncated_normal", "uniform")
_SMALL_NORMAL = "small_normal"
_MODES = ("fan_in", "fan_out", "fan_avg", "unit")
_SHAPES = ("laplace", "signed_constant", "unsigned_constant", "bernoulli")


@dataclass(frozen=True)
class _Rule:
    """The distribution of one name.

    Attributes:
        distribution: Shape of the distribution.
        scale: Mean square times fan; `None` for 2, or the square of the requested gain.
        mode: The fan; `None` for the requested one.
        scales: Whether `fan_scale` is used.
    """

    distribution: str
    scale: float | None = None
    mode: str | None = None
    scales: bool = True


_LARGEST = 1e30  # mean square of weights times their fan
_RULES = {
    "standard": _Rule("uniform", 1 / 3, "fan_in", scales=False),
    "kaiming_normal": _Rule("untruncated_normal"),
    "kaiming_uniform": _Rule("uniform", scales=False),
    "kaiming_laplace": _Rule("laplace"),
    "kaiming_constant_signed": _Rule("signed_constant"),
    "kaiming_constant_unsigned": _Rule("unsigned_constant"),
    "kaiming_truncated_normal": _Rule("truncated_normal"),
    "xavier_normal": _Rule("untruncated_normal", 1.0, "fan_avg", scales=False),
    "xavier_constant": _Rule("signed_constant", 1.0, "fan_avg", scales=False),
    "signed_constant": _Rule("signed_constant"),
    "unsigned_constant": _Rule("unsigned_constant"),
    "usc_bernoulli": _Rule("bernoulli"),
    "bernoulli": _Rule("bernoulli", 1.0, "unit", scales=False),
    "ones": _Rule("unsigned_constant", 1.0, "unit", scales=False),
}


def initializer_names() -> tuple[str, ...]:
    """Returns the names of the initial weights of `initializer`."""
    return (*_RULES, _SMALL_NORMAL)


def initializer(
    name: str,
    *,
    seed: int | None = None,
    mode: str = "fan_in",
    gain: float | None = None,
    fan_scale: float = 1.0,
) -> keras.initializers.Initializer:
    """Returns an initializer by its name, one of Keras if it has one.

    | name | weights, with the `fan` of `mode` and the gain `g`, √2 by default |
    | --- | --- |
    | `standard` | uniform in ±1/√fan_in (the default of convolutions and dense layers in PyTorch) |
    | `kaiming_normal`, `kaiming_laplace`, `kaiming_uniform` | mean 0 and variance g²/fan |
    | `kaiming_truncated_normal` | the same, with a normal cut at two standard deviations |
    | `kaiming_constant_signed` or `signed_constant` | ±g/√fan with equal chances |
    | `kaiming_constant_unsigned` or `unsigned_constant` | g/√fan |
    | `usc_bernoulli` | g/√fan or 0 with equal chances |
    | `xavier_normal`, `xavier_constant` | mean square 2/(fan_in + fan_out) |
    | `small_normal` | normal with standard deviation 0.01 |
    | `bernoulli`, `ones` | 0 or 1 with equal chances; 1 |

    Args:
        name: One of `initializer_names()`.
        seed: Seed; `None` for other weights every time.
        mode: `fan_in` or `fan_out`; `standard` and the `xavier` ones have fixed fans.
        gain: Root mean square times √fan of the `kaiming` and constant ones; `None` for √2.
        fan_scale: Factor of the fan of `kaiming_normal`, `kaiming_laplace` and the constants (not of the `xavier`
            ones). If only a fraction `density` of the weights is used, `density` preserves the variance of the outputs
            of a layer; the code of the multi-prize tickets uses `1 - density`.

    Returns:
        The initializer.

    Raises:
        ConfigError: The name or the mode is unknown, or a number is not above 0.

    Example:
        >>> initializer("kaiming_normal", seed=0)((3, 3, 64, 64)).shape
        TensorShape([3, 3, 64, 64])

    Reference:
        Chen et al., Peek-a-Boo (ICLR 2022), and Diffenderfer & Kailkhura, Multi-Prize Lottery Ticket Hypothesis
        (ICLR 2021): the authors' code.
    """
    if not isinstance(name, str) or name not in initializer_names():
        raise ConfigError(
            f"expected initial weights of {', '.join(initializer_names())}, received {short(name)}; use one of these"
        )
    check_choice("mode", mode, Mode)
    gain, fan_scale = optional(number, "gain", gain, above=0), number("fan_scale", fan_scale, above=0)
    seed = None if seed is None else seed_number(seed)
    if name == _SMALL_NORMAL:
        return keras.initializers.RandomNormal(0.0, 0.01, seed=seed)
    rule = _RULES[name]
    scale = rule.scale if rule.scale is not None else 2.0 if gain is None else gain * gain
    scale /= fan_scale if rule.scales else 1.0
    scale = number("gain² / fan_scale", scale, above=0, at_most=_LARGEST)
    make = keras.initializers.VarianceScaling if rule.distribution in _STOCK else ScaledDistribution
    return make(scale, rule.mode or mode, rule.distribution, seed=seed)


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
    """Redraws the kernels of convolutions and dense layers of a model in place; nothing else changes.

    A model of `build_model` gets the same kernels as by `build_model` with this name and seed. Layers of nested models
    are included; the kernel of a shared layer is drawn once.

    Args:
        model: Any built Keras model.
        name: The weights, one of `initializer_names()`.
        seed: Seed, from which that of each layer follows by its name. `None` for other weights every time.
        mode: As in `initializer`.
        gain: As in `initializer`.
        fan_scale: As in `initializer`.
        keep_signs: Whether each weight keeps its sign (0 remains 0), so that only its magnitude is drawn.
        ignore: Names of layers that are not changed, or patterns of names (`fc*`).

    Raises:
        ConfigError: A name is unknown, a number is out of range, or the model has no weights yet.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(16, 3)])
        >>> initialize(model, "kaiming_constant_signed", seed=0)
        >>> round(float(abs(model.layers[0].kernel[0, 0, 0, 0])), 5) == round((2 / 27) ** 0.5, 5)
        True

    Reference:
        Chen et al., Peek-a-Boo (ICLR 2022): the authors' `--init-method`, which makes signed constants from the
        signs of the weights.
    """
    instance("model", model, keras.Model, "a Keras model")
    keep_signs = truth("keep_signs", keep_signs)
    if isinstance(ignore, str) or not isinstance(ignore, Sequence) or not all(isinstance(each, str) for each in ignore):
        raise ConfigError(f"ignore: expected names or patterns of layers, received {described(ignore)}")
    if not model.built:
        raise ConfigError("expected a built model, received one without weights; call it once, or give it an Input")
    options: dict[str, Any] = {"mode": mode, "gain": gain, "fan_scale": fan_scale}
    initializer(name, seed=seed, **options)  # an unknown name is an error even if no layer has a kernel
    for layer, kernel in _kernels(model):
        if any(fnmatchcase(layer.name, pattern) for pattern in ignore):
            continue
        variable = getattr(layer, kernel.attribute)
        label = layer.name if kernel.attribute == "kernel" else f"{layer.name}/{kernel.attribute}"
        drawn = initializer(name, seed=layer_seed(seed, label), **options)(
            _as_in_out(layer, kernel, tuple(variable.shape)), dtype=variable.dtype
        )
        weights = ops.reshape(drawn, variable.shape)
        variable.assign(ops.sign(variable) * ops.abs(weights) if keep_signs else weights)


def _kernels(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, Kernel]]:
    """Yields each kernel of the model once, with its layer."""
    seen: set[int] = set()
    for layer in flat_layers(model):
        for kernel in named_kernels(layer):
            variable = getattr(layer, kernel.attribute, None)
            if isinstance(variable, keras.Variable) and id(variable) not in seen:
                seen.add(id(variable))
                yield layer, kernel


def _as_in_out(layer: keras.layers.Layer, kernel: Kernel, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns a shape `[..., in, out]` of as many entries as the kernel's, whose fans are the real ones.

    Keras counts all channels of a depthwise kernel as inputs of each output, although only one is, and the axes of the
    kernel of an einsum are in any order.
    """
    if kernel.depthwise:
        return (*shape[:-2], 1, shape[-2] * shape[-1])
    if isinstance(layer, keras.layers.EinsumDense):
        operands, outputs = layer.equation.split("->")
        letters = operands.split(",")[1].replace("...", "")
        read = int(np.prod([size for letter, size in zip(letters, shape, strict=True) if letter not in outputs]))
        return (read, int(np.prod(shape)) // read)
    return shape


@keras.saving.register_keras_serializable(package="tfprune")
class ScaledDistribution(keras.initializers.Initializer):
    """Initial weights scaled by the fan, like `keras.initializers.VarianceScaling`, for other distributions.

    `scale / fan` is the variance of the Laplace distribution and the square of the constants. `bernoulli` draws the
    constant or zero, with equal chances.

    Args:
        scale: Mean square times fan.
        mode: The fan: `fan_in`, `fan_out`, `fan_avg` for their mean, or `unit` for 1.
        distribution: `laplace`, `signed_constant` (signs with equal chances), `unsigned_constant` or `bernoulli`.
        seed: Seed; `None` draws one.

    Raises:
        ConfigError: The distribution or the mode is unknown, or `scale` is not above 0.

    Example:
        >>> weights = ScaledDistribution(2.0, "fan_in", "signed_constant", seed=1)((3, 3, 8, 16))
        >>> round(abs(float(weights[0, 0, 0, 0])), 5) == round((2 / 72) ** 0.5, 5)
        True

    Reference:
        He et al., Delving Deep into Rectifiers (ICCV 2015), for the scale; Ramanujan et al., What's Hidden in a
        Randomly Weighted Neural Network? (CVPR 2020), for the signed constant.
    """

    def __init__(self, scale: float, mode: str, distribution: str, seed: int | None = None) -> None:
        if distribution not in _SHAPES:
            raise ConfigError(f"expected a distribution of {', '.join(_SHAPES)}, received {distribution!r}; use one")
        if mode not in _MODES:
            raise ConfigError(f"expected a mode of {', '.join(_MODES)}, received {mode!r}; use one")
        if not scale > 0:
            raise ConfigError(f"expected a scale above 0, received {scale}; raise it")
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.seed = seed
        self._drawn = random.randrange(2**31) if seed is None else seed

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Any:
        """Draws weights of the shape of a kernel, `[..., in, out]`; the same at every call."""
        magnitude = (self.scale / _fan(shape, self.mode)) ** 0.5
        dtype = keras.backend.standardize_dtype(dtype or keras.config.floatx())
        if self.distribution == "unsigned_constant":
            return ops.full(shape, magnitude, dtype)
        uniform = keras.random.uniform(
            (2, *shape) if self.distribution == "laplace" else shape, dtype=dtype, seed=self._drawn
        )
        if self.distribution == "bernoulli":
            return ops.where(uniform < 0.5, ops.cast(magnitude, dtype), ops.cast(0, dtype))
        if self.distribution == "signed_constant":
            return ops.where(uniform < 0.5, ops.cast(-magnitude, dtype), ops.cast(magnitude, dtype))
        # A Laplace variable is an exponential one with a random sign; its variance is twice the square of its scale.
        exponential = -ops.log(1 - uniform[0]) * ops.cast(magnitude / 2**0.5, dtype)
        return ops.where(uniform[1] < 0.5, -exponential, exponential)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {"scale": self.scale, "mode": self.mode, "distribution": self.distribution, "seed": self.seed}


def _fan(shape: tuple[int, ...], mode: str) -> float:
    """Returns the fan of a kernel `[..., in, out]`; an only axis is both."""
    positions = 1
    for size in shape[:-2]:
        positions *= size
    incoming, outgoing = positions * shape[-2 if len(shape) > 1 else -1], positions * shape[-1]
    return {"fan_in": incoming, "fan_out": outgoing, "fan_avg": (incoming + outgoing) / 2, "unit": 1}[mode]
