"""Runs calls of a model on given weights instead of the layers' own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.applications.convnext import LayerScale

from tfprune.graph.calls import Call
from tfprune.graph.channel_groups import ChannelGroups, channel_groups
from tfprune.graph.layer_channels import PINNED, LayerChannels

Weights = Mapping[str, tf.Tensor]
Runner = Callable[[keras.Layer, list[tf.Tensor], Weights], tf.Tensor]


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
