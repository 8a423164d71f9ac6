"""Runs calls of a model on given weights instead of the layers' own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.applications.convnext import LayerScale

from tfprune.errors import UnsupportedLayerError
from tfprune.graph.calls import Call
from tfprune.graph.channel_groups import ChannelGroups, channel_groups
from tfprune.graph.labels import PINNED, LayerChannels
from tfprune.layers import FusedBatchNormalization

Weights = Mapping[str, tf.Tensor]
Runner = Callable[[keras.Layer, list[tf.Tensor], Weights], tf.Tensor]
_ALONG = (
    keras.layers.BatchNormalization,
    FusedBatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.Dropout,
)


def execute(calls: Sequence[Call], tensors: dict[int, tf.Tensor], weights: Callable[[Call], Weights]) -> None:
    """Runs calls one after the other, batch norm with the statistics of the batch.

    Args:
        calls: Producers before consumers.
        tensors: Values of symbolic tensors by `id`; the outputs are added.
        weights: From a call to its weights by attribute name. A call without any runs as the layer does, on the layer's
            own weights, in inference mode.
    """
    for call in calls:
        inputs = [tensors[id(tensor)] for tensor in call.inputs]
        run = _special(call.layer, weights(call))
        outputs = [run(call.layer, inputs, weights(call))] if run else _as_the_layer_does(call, tensors, inputs)
        tensors.update((id(tensor), value) for tensor, value in zip(call.outputs, outputs, strict=True))


def _special(layer: keras.Operation, weights: Weights) -> Runner | None:
    """How to run a layer on given weights, or without Keras' casts between number formats; None if it needs neither."""
    if isinstance(layer, keras.layers.ReLU):
        plain = not (layer.negative_slope or layer.threshold or layer.max_value)
        return _relu if plain else None
    if isinstance(layer, keras.layers.BatchNormalization) and (weights or not (layer.scale or layer.center)):
        return _batch_norm
    if isinstance(layer, keras.layers.Reshape):
        return _reshape if _wide_axes(layer) == 1 else None
    own_weights = bool(layer.weights) if isinstance(layer, keras.Layer) else False
    runners = (run for kind, run in _RUN.items() if isinstance(layer, kind) and bool(weights) == own_weights)
    return next(runners, None)


def _as_the_layer_does(call: Call, tensors: dict[int, tf.Tensor], inputs: list[tf.Tensor]) -> list[tf.Tensor]:
    arguments, named = call.arguments(tensors)
    outputs = keras.tree.flatten(call.layer(*arguments, **named))
    dtype = tf.as_dtype(inputs[0].dtype)
    return [tf.cast(output, dtype) for output in outputs] if dtype.is_floating else outputs


def _relu(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    return tf.nn.relu(inputs[0])


def _conv(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    padding = layer.padding.upper()
    values = tf.cast(inputs[0], weights["kernel"].dtype)
    output = tf.nn.conv2d(values, weights["kernel"], layer.strides, padding, dilations=layer.dilation_rate)
    return _finish(layer, output, weights)


def _depthwise_conv(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    return _finish(layer, _depthwise_kernel(layer, inputs[0], weights["kernel"]), weights)


def _depthwise_kernel(layer: keras.Layer, values: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    values, strides = tf.cast(values, kernel.dtype), (1, *layer.strides, 1)
    return tf.nn.depthwise_conv2d(values, kernel, strides, layer.padding.upper(), dilations=layer.dilation_rate)


def _dense(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    output = tf.matmul(tf.cast(inputs[0], tf.float32), weights["kernel"])
    return _finish(layer, output, weights)


def _separable_conv(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    between = _depthwise_kernel(layer, inputs[0], weights["depthwise_kernel"])
    return _finish(layer, tf.nn.conv2d(between, weights["pointwise_kernel"], 1, "VALID"), weights)


def _layer_norm(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    mean, variance = tf.nn.moments(inputs[0], [-1], keepdims=True)
    output = tf.nn.batch_normalization(inputs[0], mean, variance, None, None, layer.epsilon)
    for weight, apply in (("gamma", tf.multiply), ("beta", tf.add)):
        output = apply(output, tf.cast(weights[weight], output.dtype)) if weight in weights else output
    return output


def _layer_scale(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    return inputs[0] * tf.cast(weights["gamma"], inputs[0].dtype)


def _prelu(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    return tf.nn.relu(inputs[0]) - tf.cast(weights["alpha"], inputs[0].dtype) * tf.nn.relu(-inputs[0])


def _reshape(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    """Only one axis is wider than 1: it takes what is there."""
    sizes = [1 if size == 1 else -1 for size in layer.target_shape]
    return tf.reshape(inputs[0], [tf.shape(inputs[0])[0], *sizes])


def _finish(layer: keras.Layer, output: tf.Tensor, weights: Weights) -> tf.Tensor:
    if "bias" in weights:
        output = output + tf.cast(weights["bias"], output.dtype)
    return layer.activation(output)


def _batch_norm(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    (values,) = inputs
    rows = values.shape.rank != 4
    flat = tf.reshape(values, [-1, 1, 1, tf.shape(values)[-1]]) if rows else values
    width = tf.shape(values)[-1:]
    scale = weights.get("gamma", tf.ones(width))
    offset = weights.get("beta", tf.zeros(width))
    output = tf.raw_ops.FusedBatchNormV3(
        x=flat, scale=scale, offset=offset, mean=[], variance=[], epsilon=layer.epsilon, is_training=True
    )[0]
    return tf.reshape(output, tf.shape(values)) if rows else output


def _activation(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    return layer.activation(inputs[0])


def _add(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    return tf.add_n(inputs) if len(inputs) > 2 else inputs[0] + inputs[1]


_RUN: dict[type, Runner] = {
    keras.layers.Conv2D: _conv,
    keras.layers.DepthwiseConv2D: _depthwise_conv,
    keras.layers.Dense: _dense,
    keras.layers.SeparableConv2D: _separable_conv,
    keras.layers.LayerNormalization: _layer_norm,
    keras.layers.PReLU: _prelu,
    LayerScale: _layer_scale,
    keras.layers.Activation: _activation,
    keras.layers.Add: _add,
}


def executable_groups(model: keras.Model) -> ChannelGroups:
    """The channel groups of a model without those that `execute` cannot run at another width.

    Args:
        model: A functional or sequential model.

    Returns:
        The groups; layers that are not run on given weights are left alone, and named.
    """
    groups = channel_groups(model)
    rigid = [call for call in groups.calls if not _executable(call, groups.by_layer[call.name])]
    if not rigid:
        return groups
    names = dict.fromkeys(f"{call.name} ({type(call.layer).__name__}): no search at other widths" for call in rigid)
    fewer = channel_groups(model, ignore=dict.fromkeys(call.name for call in rigid))
    return replace(fewer, pinned=(*fewer.pinned, *names))


def _executable(call: Call, channels: LayerChannels) -> bool:
    """Whether a call can be run at another width."""
    layer: Any = call.layer
    prunable = any(np.any(slot.channels != PINNED) for slot in channels.slots)
    if not prunable and not any(np.any(axis != PINNED) for edit in channels.edits for axis in edit.axes):
        return True
    if isinstance(layer, keras.layers.Reshape):
        return _wide_axes(layer) == 1
    return takes_weights(layer) and getattr(layer, "depth_multiplier", 1) == 1


def takes_weights(layer: Any) -> bool:
    """Whether `execute` runs a layer on given weights; it runs the others on their own."""
    if getattr(layer, "data_format", None) == "channels_first":
        return False
    if isinstance(layer, keras.layers.LayerNormalization):
        return layer.axis in (-1, [-1])
    return isinstance(layer, keras.layers.BatchNormalization) or any(isinstance(layer, kind) for kind in _RUN)


def averages_channels(groups: ChannelGroups) -> bool:
    """Whether layers take statistics over prunable channels, which channels filled up with zeros would spoil."""
    return any(
        isinstance(each.layer, keras.layers.LayerNormalization) and np.any(slot.channels != PINNED)
        for each in groups.by_layer.values()
        for slot in each.slots
    )


def _wide_axes(layer: keras.Layer) -> int:
    return sum(size != 1 for size in layer.target_shape)


@dataclass(frozen=True)
class Segment:
    """A stretch of a model with one input and one output tensor.

    Attributes:
        calls: The calls, producers before consumers.
        input: The symbolic tensor it reads.
        output: The symbolic tensor it makes.
    """

    calls: tuple[Call, ...]
    input: keras.KerasTensor
    output: keras.KerasTensor


def segments(calls: Sequence[Call]) -> tuple[Segment, ...]:
    """Cuts a model with one input and one output wherever a single tensor carries everything on.

    Stretches without a kernel are joined to the segment before them. A residual network falls into its stem, its blocks
    and its classifier.

    Args:
        calls: All calls of a model with one input and one output.

    Returns:
        The segments, in order; each reads what the one before it makes.

    Raises:
        UnsupportedLayerError: The model has several inputs or outputs.
    """
    input_call, *calls = calls
    uses: dict[int, int] = {}
    for call in calls:
        for tensor in call.inputs:
            uses[id(tensor)] = uses.get(id(tensor), 0) + 1
    unread = [tensor for call in calls for tensor in call.outputs if id(tensor) not in uses]
    if len(unread) != 1 or any(isinstance(call.layer, keras.layers.InputLayer) for call in calls):
        raise UnsupportedLayerError("expected a model with one input and one output, received one with several")
    live = {id(input_call.outputs[0])}
    pieces: list[list[Call]] = [[]]
    for call in calls:
        pieces[-1].append(call)
        live.update(id(tensor) for tensor in call.outputs)
        for tensor in call.inputs:
            uses[id(tensor)] -= 1
            if uses[id(tensor)] == 0:
                live.discard(id(tensor))
        if live == {id(call.outputs[0])}:
            pieces.append([])
    joined = _join(piece for piece in pieces if piece)
    starts = [input_call.outputs[0], *(piece[-1].outputs[0] for piece in joined)]
    return tuple(
        Segment(tuple(piece), start, piece[-1].outputs[0]) for piece, start in zip(joined, starts, strict=False)
    )


def _join(pieces: Iterable[list[Call]]) -> list[list[Call]]:
    joined: list[list[Call]] = []
    for piece in pieces:
        if joined and not any(_has_kernel(call) for call in piece):
            joined[-1].extend(piece)
        else:
            joined.append(list(piece))
    return joined


def _has_kernel(call: Call) -> bool:
    return hasattr(call.layer, "kernel") or hasattr(call.layer, "pointwise_kernel")


@dataclass(frozen=True, eq=False)
class GateSite:
    """A tensor that gates mask.

    Attributes:
        channels: Channel numbers along its last axis, `PINNED` where there is nothing to mask.
        group: Index of the channel group, if these are the channels of one, all of them, in order.
        tensor: The symbolic tensor, the last one before the channels are read or merged again.
        layer: Name of the layer whose output it is.
    """

    channels: np.ndarray
    group: int | None
    tensor: keras.KerasTensor
    layer: str


def gate_sites(groups: ChannelGroups) -> tuple[GateSite, ...]:
    """Finds the tensors where the channel groups' gates act.

    There is one wherever a kernel reads prunable channels: at the last activation, normalisation or merge before it.
    Pooling, reshaping and depthwise convolutions between the two are passed by. A tensor that only leads into a merge,
    or into a batch norm, has none: the scale of what a batch norm reads does not matter.

    Args:
        groups: The channel groups of a model.

    Returns:
        The sites in call order.

    Reference:
        Lee & Song, EKG (ECCV 2022): gates after batch norm + ReLU, and after a residual sum's ReLU.
    """
    calls = groups.calls
    makers = {id(tensor): call for call in calls for tensor in call.outputs}
    gated: dict[int, keras.KerasTensor] = {}
    for call in calls:
        if any(slot.role == "in" for slot in groups.slots_of(call.name)):
            for tensor in call.inputs:
                if np.any(groups.tensor_channels(tensor) != PINNED):
                    site = _before(tensor, makers, groups)
                    gated[id(site)] = site
    return tuple(_site(call, tensor, groups) for call in calls for tensor in call.outputs if id(tensor) in gated)


def _site(call: Call, tensor: keras.KerasTensor, groups: ChannelGroups) -> GateSite:
    channels = groups.tensor_channels(tensor)
    return GateSite(channels, groups.group_of(channels), tensor, call.name)


def _before(tensor: keras.KerasTensor, makers: dict[int, Call], groups: ChannelGroups) -> keras.KerasTensor:
    """The tensor at which the gate of what is read at `tensor` sits."""
    call = makers[id(tensor)]
    makes = any(slot.role == "out" for slot in groups.slots_of(call.name))
    if isinstance(call.layer, _ALONG) or makes or len(call.inputs) != 1:
        return tensor
    (before,) = call.inputs
    return _before(before, makers, groups) if np.any(groups.tensor_channels(before) != PINNED) else tensor


def sites_by_group(sites: Sequence[GateSite], groups: ChannelGroups) -> list[list[GateSite]]:
    """The sites of each group, in the order of the groups; sites with channels of several groups belong to none."""
    return [[site for site in sites if site.group == index] for index in range(len(groups))]
