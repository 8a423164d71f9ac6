"""Models with a mask on every weight of some layers, from plain ones and back."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.graph.calls import model_calls
from tfprune.graph.copied_layer import copied_layer
from tfprune.graph.non_negative import non_negative_inputs
from tfprune.graph.prunable_weights import prunable_weights
from tfprune.graph.rebuild import rebuild
from tfprune.layers import (
    PSG,
    MaskedConv1D,
    MaskedConv2D,
    MaskedConv3D,
    MaskedDense,
    MaskedDepthwiseConv2D,
    MaskedWeights,
    PSGConv2D,
    PSGDense,
    PSGDepthwiseConv2D,
)
from tfprune.masks import Masks

layers = keras.layers

MASKED_FAMILIES: dict[str, dict[type, type[MaskedWeights]]] = {
    "masked": {
        layers.Conv1D: MaskedConv1D,
        layers.Conv2D: MaskedConv2D,
        layers.Conv3D: MaskedConv3D,
        layers.DepthwiseConv2D: MaskedDepthwiseConv2D,
        layers.Dense: MaskedDense,
    },
    "psg": {
        layers.Conv2D: PSGConv2D,
        layers.DepthwiseConv2D: PSGDepthwiseConv2D,
        layers.Dense: PSGDense,
    },
}
"""Families of layers with a mask on every weight: which class takes the place of which stock one."""

_STOCK: dict[type, Any] = {masked: stock for family in MASKED_FAMILIES.values() for stock, masked in family.items()}


def masks_of(model: keras.Model) -> Masks:
    """The masks of a model of masked layers.

    Args:
        model: A functional or sequential model, converted to the family `masked` or `psg`.

    Returns:
        A mask for each masked kernel.

    Raises:
        ConfigError: The model has none.

    Example:
        >>> import keras
        >>> from tfprune.graph import convert
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc")])
        >>> masks_of(convert(model, "masked", {"fc/kernel": np.eye(4, 3)})).counts
        {'fc/kernel': (3, 12)}
    """
    masked = _masked_layers(model)
    if not masked:
        raise ConfigError(
            f'expected masked layers in {model.name}, found none; make some with convert(model, "masked", masks)'
        )
    return Masks({name: np.asarray(layer.mask) for name, layer in masked.items()})


def masked_model(
    model: keras.Model,
    family: str,
    masks: Mapping[str, Any] | None,
    *,
    dtype: str | None,
    options: Mapping[str, Any] | None,
) -> keras.Model:
    """Copies a model with masked layers; see `convert`."""
    weights = prunable_weights(model)
    given = None if masks is None else _fitting(masks, weights)
    swapped = {id(variable): name for name, variable in weights.items() if given is None or name in given}
    non_negative = non_negative_inputs(model) if family == "psg" else set()
    outputs = set(getattr(model, "output_names", ()))

    def make(layer: Any) -> keras.Layer:
        name = next((swapped[id(variable)] for variable in layer.variables if id(variable) in swapped), None)
        if name is None:
            new = copied_layer(layer)
        else:
            signed = {"input_signed": id(layer) not in non_negative} if family == "psg" else {}
            new = _masked_layer(layer, name, family, {**signed, **(options or {})})
        if dtype is not None and not isinstance(layer, layers.InputLayer):
            new.dtype_policy = "float32" if layer.name in outputs else dtype
        return new

    new = rebuild(model, make)
    if given is not None:
        masked = _masked_layers(new)
        for name, mask in given.items():
            masked[name].mask.assign(mask)
    return new


def stock_layer(layer: MaskedWeights) -> keras.Layer:
    """A stock layer in the place of a masked one, not built yet."""
    return _STOCK[type(layer)].from_config(layer.stock_config())


def baked_value(layer: keras.Layer, variable: keras.Variable) -> Any:
    """The value that a variable has in a copy without masks: kernels are 0 where they were masked."""
    if isinstance(layer, MaskedWeights) and variable is layer.kernel:
        return np.where(np.asarray(layer.mask), np.asarray(variable), np.zeros([], variable.dtype))
    return variable


def _fitting(masks: Mapping[str, Any], weights: Mapping[str, keras.Variable]) -> Masks:
    masks = masks if isinstance(masks, Masks) else Masks(masks)
    absent = next((name for name in masks if name not in weights), None)
    masks.check(weights if absent else {name: weights[name] for name in masks})
    return masks


def _masked_layer(layer: Any, name: str, family: str, options: Mapping[str, Any]) -> keras.Layer:
    stock = _STOCK.get(type(layer), type(layer))
    kind = MASKED_FAMILIES[family].get(stock)
    if kind is None:
        known = ", ".join(each.__name__ for each in MASKED_FAMILIES[family])
        raise UnsupportedLayerError(
            f"{name}: expected one of {known} (Keras' own, not derived) for the family {family!r}, received "
            f"{type(layer).__name__}; leave its weights out of the masks"
        )
    config = layer.stock_config() if isinstance(layer, MaskedWeights) else layer.get_config()
    if isinstance(layer, PSG) and issubclass(kind, PSG):
        config = layer.get_config()
    return kind.from_config(config | dict(options))


def _masked_layers(model: keras.Model) -> dict[str, MaskedWeights]:
    found: dict[str, MaskedWeights] = {}
    seen: set[int] = set()
    for call in model_calls(model):
        if isinstance(call.layer, MaskedWeights) and id(call.layer) not in seen:
            found[f"{call.name}/kernel"] = call.layer
            seen.add(id(call.layer))
    return found
