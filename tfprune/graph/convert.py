"""Copies of a functional model in which layers of one kind are swapped for another."""

from collections.abc import Mapping
from typing import Any

import keras

from tfprune.errors import ConfigError
from tfprune.graph.rebuild import rebuild
from tfprune.layers import (
    ChannelMaskedConv2D,
    ChannelMaskedDense,
    ChannelMaskedDepthwiseConv2D,
    FusedBatchNormalization,
    ScoredBatchNormalization,
)

_STOCK_BATCH_NORM = keras.layers.BatchNormalization

FAMILIES: dict[str, dict[type, type]] = {
    "plain": {FusedBatchNormalization: _STOCK_BATCH_NORM},
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
on every batch norm.
"""

Config = dict[str, Any]


def convert(
    model: keras.Model,
    family: str,
    *,
    dtype: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Copies a model with every layer of a kind swapped for the one a family puts in its place.

    Layer names and weights stay the same; weights that only the new layers have keep their initial values.

    Args:
        model: A functional or sequential model. It is not changed.
        family: Name of a layer family, see `FAMILIES`.
        dtype: Policy for all layers of the copy, such as `mixed_bfloat16`, but those that give the model's outputs,
        which
            are float32 then. Default: as in `model`.
        options: Constructor arguments for the swapped layers that the old ones do not have.

    Returns:
        A new model.

    Raises:
        ConfigError: There is no such family.
    """
    outputs = set(getattr(model, "output_names", ()))

    def make(layer: keras.Layer) -> keras.Layer:
        return swap_layer(layer, family, dtype="float32" if dtype and layer.name in outputs else dtype, options=options)

    return rebuild(model, make)


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
        raise ConfigError(f"expected a layer family out of {', '.join(FAMILIES)}; received {family!r}")
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
