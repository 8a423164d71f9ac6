"""The weights that can be pruned one by one."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import keras

from tfprune.errors import ConfigError
from tfprune.graph.calls import Call, model_calls

_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_WITH_KERNEL = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)

Ignored = str | Any
"""Path or pattern of layers or weights, or a layer, or a nested model."""


def prunable_weights(model: keras.Model, *, ignore: Ignored | Iterable[Ignored] = ()) -> dict[str, keras.Variable]:
    """The kernels of a model: those of convolutions (transposed, depthwise and separable ones, too) and dense layers.

    Classes derived from Keras' count as these. Biases, normalisations, embeddings and recurrent layers have none, nor
    have layers within other layers, such as those of attention.

    Args:
        model: A functional or sequential model, built.
        ignore: What to leave out: paths of layers (`outer/inner` in nested models, `outer` for all in it) or of weights
            (`fc/kernel`), patterns of these such as `stage1_*`, or layers. One or several.

    Returns:
        Variables by name, `<layer path>/<weight>`, in the order of the graph; one that several layers or calls share
        stands there once.

    Raises:
        UnsupportedLayerError: The model has no graph.
        ConfigError: Nothing is called as `ignore` says, or nothing is left.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc")])
        >>> {name: tuple(weight.shape) for name, weight in prunable_weights(model).items()}
        {'fc/kernel': (4, 3)}
    """
    single = isinstance(ignore, str) or not isinstance(ignore, Iterable)
    every: list[Any] = [ignore] if single else list(ignore)
    calls = model_calls(model)
    out: set[str] = set()
    for each in every:
        out |= _meant(calls, each)
    found: dict[str, keras.Variable] = {}
    seen: set[int] = set()
    for call in calls:
        for attribute, variable in _kernels(call.layer):
            name = f"{call.name}/{attribute}"
            if id(variable) not in seen and name not in out and call.name not in out:
                found[name] = variable
            seen.add(id(variable))
    if not found:
        raise ConfigError(
            f"expected kernels to prune in {model.name}, found none{' but those to ignore' if seen else ''}; "
            "give a model with dense layers or convolutions"
        )
    return found


def _meant(calls: tuple[Call, ...], ignored: Ignored) -> set[str]:
    """Names of the layers and weights that are meant."""
    if isinstance(ignored, str):
        names = {call.name for call in calls}
        names |= {f"{call.name}/{attribute}" for call in calls for attribute, _ in _kernels(call.layer)}
        found = {name for name in names if fnmatchcase(name, ignored) or name.startswith(f"{ignored}/")}
    else:
        within = {id(layer) for layer in ignored._flatten_layers()} if isinstance(ignored, keras.Layer) else set()
        found = {call.name for call in calls if id(call.layer) in within}
    if not found:
        shown = ignored if isinstance(ignored, str) else getattr(ignored, "name", ignored)
        raise ConfigError(f"ignore: expected layers of the model, received {shown!r}, which it lacks; check the name")
    return found


def _kernels(layer: keras.Operation) -> list[tuple[str, keras.Variable]]:
    """The prunable variables of a layer, by the attribute that holds them."""
    if isinstance(layer, _SEPARABLE):
        return [(name, getattr(layer, name)) for name in ("depthwise_kernel", "pointwise_kernel")]
    if not isinstance(layer, _WITH_KERNEL):
        return []
    if getattr(layer, "lora_enabled", False):
        raise ConfigError(
            f"expected plain kernels, received {layer.name} with a LoRA update; merge it into the kernel before pruning"
        )
    return [("kernel", layer.kernel)]
