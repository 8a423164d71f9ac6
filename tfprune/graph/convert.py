"""Copies of a functional model in which layers of one kind are swapped for another."""

from collections.abc import Mapping
from typing import Any

import keras

from tfprune.errors import ConfigError
from tfprune.graph.rebuild import rebuild
from tfprune.graph.subnet import bake_subnets, keep_selection, subnet_model, subnet_options
from tfprune.graph.weight_masks import MASKED_FAMILIES, baked_value, masked_model, stock_layer
from tfprune.layers import (
    ChannelMaskedConv2D,
    ChannelMaskedDense,
    ChannelMaskedDepthwiseConv2D,
    FrozenBatchNormalization,
    FusedBatchNormalization,
    MaskedWeights,
    ScoredBatchNormalization,
)

_STOCK_BATCH_NORM = keras.layers.BatchNormalization

FAMILIES: dict[str, dict[type, type]] = {
    "plain": {FusedBatchNormalization: _STOCK_BATCH_NORM, FrozenBatchNormalization: _STOCK_BATCH_NORM},
    "fused": {_STOCK_BATCH_NORM: FusedBatchNormalization},
    "channel_masked": {
        _STOCK_BATCH_NORM: FusedBatchNormalization,
        keras.layers.Conv2D: ChannelMaskedConv2D,
        keras.layers.DepthwiseConv2D: ChannelMaskedDepthwiseConv2D,
        keras.layers.Dense: ChannelMaskedDense,
    },
    "gated": {
        _STOCK_BATCH_NORM: ScoredBatchNormalization,
        FusedBatchNormalization: ScoredBatchNormalization,
    },
}
"""Layer families by name: which class takes the place of which.

`fused` is faster batch norm, `plain` takes it back, `channel_masked` has channel masks on every kernel, `gated` a gate
on every batch norm. `masked` and `psg`, which have a mask on every weight, stand in `weight_masks.MASKED_FAMILIES`;
`subnet` stands in `graph.subnet`.
"""

Config = dict[str, Any]


def convert(
    model: keras.Model,
    family: str,
    masks: Mapping[str, Any] | None = None,
    *,
    dtype: str | None = None,
    options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> keras.Model:
    """Copies a model with every layer of a kind swapped for the one a family puts in its place.

    Layer names and weights stay the same; weights that only the new layers have keep their initial values.

    The families `masked` (masks on weights) and `psg` (these, and predicted weight gradients) take masks. `plain` makes
    stock layers of such layers, with zeros for the masked weights.

    `subnet` freezes all weights and trains scores that pick among them: `convert(model, "subnet", density=0.2,
    scope="global", binary_activations=True)`; see `graph.subnet.SubnetOptions` for its settings. `plain` makes stock
    layers of those, too, with the weights that they work with.

    Args:
        model: A functional or sequential model. It is not changed.
        family: Name of a layer family, see `FAMILIES`, or `masked` or `psg`.
        masks: For `masked` and `psg`: `tfprune.masks.Masks`, or arrays of zeros and ones by name as in
            `prunable_weights(model)`. Only layers that have one here are swapped. Default: all with prunable weights
            are; masks of layers that are masked already are carried over, others keep everything.
        dtype: Policy for all layers of the copy, such as `mixed_bfloat16`, but those that give the model's outputs,
            which are float32 then. Default: as in `model`.
        options: Constructor arguments for the swapped layers that the old ones do not have. `psg`: `input_signed` is
            found for each layer from the graph unless it is given here.
        **settings: Further options, written as arguments.

    Returns:
        A new model.

    Raises:
        ConfigError: There is no such family, masks are not the model's, or the family takes none.
        UnsupportedLayerError: A weight to be masked belongs to a layer that has no masked twin.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc")])
        >>> sparse = convert(model, "masked", {"fc/kernel": np.eye(4, 3)})
        >>> int(np.count_nonzero(convert(sparse, "plain").get_layer("fc").kernel))
        3
    """
    options = {**(options or {}), **settings}
    if family in MASKED_FAMILIES:
        return masked_model(model, family, masks, dtype=dtype, options=options)
    if masks is not None:
        raise ConfigError(f"expected the family masked or psg with masks, received {family!r}; leave the masks out")
    if family == "subnet":
        return subnet_model(model, subnet_options(options), dtype=dtype)
    if family == "plain":
        model = bake_subnets(model)
    outputs = set(getattr(model, "output_names", ()))

    def make(layer: keras.Layer) -> keras.Layer:
        return swap_layer(layer, family, dtype="float32" if dtype and layer.name in outputs else dtype, options=options)

    return keep_selection(rebuild(model, make, weights=baked_value if family == "plain" else None))


def swap_layer(
    layer: keras.Layer, family: str, *, dtype: str | None = None, options: Mapping[str, Any] | None = None
) -> keras.Layer:
    """A new layer of a family in place of an old one, not built yet.

    Args:
        layer: The old layer.
        family: Name of a layer family, see `FAMILIES`; layers it has nothing for are copied.
        dtype: Policy of the new layer. Default: that of the old one.
        options: Constructor arguments that the old layer does not have.

    Returns:
        The new layer, of the same name.

    Raises:
        ConfigError: There is no such family.
    """
    if family not in FAMILIES:
        raise ConfigError(
            f"expected a layer family out of {', '.join((*FAMILIES, *MASKED_FAMILIES, 'subnet'))}; received {family!r}"
        )
    if family == "plain" and isinstance(layer, MaskedWeights):
        new = stock_layer(layer)
        if dtype is not None:
            new.dtype_policy = dtype
        return new
    kind, config = type(layer), layer.get_config()
    if dtype is not None and not isinstance(layer, keras.layers.InputLayer):
        config["dtype"] = dtype
    if kind in FAMILIES[family]:
        kind = FAMILIES[family][kind]
        config = _accepted(config, layer, kind) | dict(options or {})
    return kind.from_config(config)


def _accepted(config: Config, old: keras.Layer, kind: type) -> Config:
    """A layer's configuration without what only the old class knows."""
    if issubclass(kind, type(old)):
        return config
    known = kind(name="probe").get_config()
    return {key: value for key, value in config.items() if key in known}
