"""Rules for normalizations, other layers with one weight per channel, and layers that prepare inputs."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Labels
from tfprune.graph.rules.lookup import after_batch, extent, pin_all_but, rule
from tfprune.keras_private import LayerScale
from tfprune.layers import FusedBatchNormalization, ScoredBatchNormalization

layers = keras.layers


@rule(layers.BatchNormalization, FusedBatchNormalization, ScoredBatchNormalization, masks=True)
def _batch_norm(labels: Labels, call: Call) -> None:
    tensor = call.inputs[0]
    axes = labels.of(tensor)
    axis = after_batch(call.layer.axis, tensor)
    pin_all_but(labels, axes, axis)
    for weight in ("gamma", "beta", "moving_mean", "moving_variance"):
        labels.slot(call, weight, -1, axes[axis], "pass")
    whole = extent(axes, tensor.shape[1:])
    labels.cost(call, 2 * whole, *axes, normalization=True)
    labels.put(call.outputs[0], axes)


@rule(layers.LayerNormalization, layers.RMSNormalization)
def _layer_norm(labels: Labels, call: Call) -> None:
    """Normalizes over channels: the smaller layer uses the statistics of the channels that are kept."""
    (tensor,) = call.inputs
    axes = labels.of(tensor)
    given = call.layer.axis if isinstance(call.layer.axis, Sequence) else [call.layer.axis]
    normalized = sorted(after_batch(axis, tensor) for axis in given)
    for position, index in enumerate(normalized):
        for weight in ("gamma", "beta", "scale"):
            if hasattr(getattr(call.layer, weight, None), "shape"):
                labels.slot(call, weight, position - len(normalized), axes[index], "pass")
    labels.put(call.outputs[0], axes)


@rule(layers.GroupNormalization)
def _group_norm(labels: Labels, call: Call) -> None:
    (tensor,) = call.inputs
    axes = labels.of(tensor)
    axis = after_batch(call.layer.axis, tensor)
    pin_all_but(labels, axes, axis)
    channels = axes[axis]
    if channels is not None and call.layer.groups == len(channels):
        labels.edit(call, "groups", channels)
    elif channels is not None and call.layer.groups != -1:
        labels.tie(channels, call.layer.groups)
    for weight in ("gamma", "beta"):
        labels.slot(call, weight, -1, channels, "pass")
    labels.put(call.outputs[0], axes)


@rule(layers.UnitNormalization)
def _unit_norm(labels: Labels, call: Call) -> None:
    labels.put(call.outputs[0], labels.of(call.inputs[0]))


@rule(layers.PReLU)
def _prelu(labels: Labels, call: Call) -> None:
    axes = labels.of(call.inputs[0])
    shared = {(axis - 1) % len(axes) for axis in call.layer.shared_axes or ()}
    for index, vector in enumerate(axes):
        if index not in shared:
            labels.slot(call, "alpha", index - len(axes), vector, "pass")
    labels.put(call.outputs[0], axes)


@rule(LayerScale)
def _layer_scale(labels: Labels, call: Call) -> None:
    axes = labels.of(call.inputs[0])
    labels.slot(call, "gamma", -1, axes[-1], "pass")
    labels.edit(call, "projection_dim", axes[-1])
    labels.put(call.outputs[0], axes)


@rule(layers.Normalization)
def _normalization(labels: Labels, call: Call) -> None:
    """Pins its channels: its statistics are both settings and weights, and it is used at inputs."""
    axes = labels.of(call.inputs[0])
    labels.pin(*axes, reason="its statistics are settings of it")
    labels.put(call.outputs[0], axes)


@rule(layers.Rescaling)
def _rescaling(labels: Labels, call: Call) -> None:
    layer: Any = call.layer
    axes = labels.of(call.inputs[0])
    for setting in ("scale", "offset"):
        value = getattr(layer, setting)
        if np.size(value) <= 1:
            continue
        if np.ndim(value) == 1 and keras.config.image_data_format() == "channels_last":
            labels.edit(call, setting, axes[-1], change=partial(_kept_values, value))
        else:
            labels.pin(*axes, reason="it has a constant for each of them")
    labels.put(call.outputs[0], axes)


def _kept_values(value: Any, _: Any, kept: list[np.ndarray]) -> list[float]:
    """Returns a constant without what is cut; the setting itself may be an array that Keras has written as text."""
    return np.asarray(value)[kept[0]].tolist()


@rule(layers.Masking)
def _masking(labels: Labels, call: Call) -> None:
    """Pins its channels: without some of them, other positions might have only values that mean "masked"."""
    axes = labels.of(call.inputs[0])
    labels.pin(axes[-1], reason="it masks positions where all of them equal a value")
    labels.put(call.outputs[0], axes)


@rule(
    *(layers.CategoryEncoding, layers.Discretization, layers.HashedCrossing, layers.Hashing),
    *(layers.IntegerLookup, layers.StringLookup, layers.TextVectorization),
    several=True,
)
def _encoding(labels: Labels, call: Call) -> None:
    """Has no channels: features become numbers of categories."""
    for tensor in call.inputs:
        labels.pin(*labels.of(tensor), reason="it encodes features")
    for tensor in call.outputs:
        labels.put(tensor, (None,) * (len(tensor.shape) - 1))


@rule(layers.MelSpectrogram, layers.STFTSpectrogram)
def _spectrogram(labels: Labels, call: Call) -> None:
    labels.leave_alone(call, "it transforms signals in time, which have no channels")
