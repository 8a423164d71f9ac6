"""Runs calls of a model on given weights instead of the layers' own."""

from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from tfprune.graph.calls import Call

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
    own_weights = bool(layer.weights) if isinstance(layer, keras.Layer) else False
    runners = (run for kind, run in _RUN.items() if isinstance(layer, kind) and bool(weights) == own_weights)
    return next(runners, None)


def _as_the_layer_does(call: Call, tensors: dict[int, tf.Tensor], inputs: list[tf.Tensor]) -> list[tf.Tensor]:
    arguments, named = call.arguments(tensors)
    outputs = keras.tree.flatten(call.layer(*arguments, **named))
    return [tf.cast(output, inputs[0].dtype) for output in outputs]


def _relu(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    return tf.nn.relu(inputs[0])


def _conv(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    padding = layer.padding.upper()
    output = tf.nn.conv2d(inputs[0], weights["kernel"], layer.strides, padding, dilations=layer.dilation_rate)
    return _finish(layer, output, weights)


def _depthwise_conv(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    strides = (1, *layer.strides, 1)
    output = tf.nn.depthwise_conv2d(
        inputs[0], weights["kernel"], strides, layer.padding.upper(), dilations=layer.dilation_rate
    )
    return _finish(layer, output, weights)


def _dense(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    output = tf.matmul(tf.cast(inputs[0], tf.float32), weights["kernel"])
    return _finish(layer, output, weights)


def _finish(layer: keras.Layer, output: tf.Tensor, weights: Weights) -> tf.Tensor:
    if "bias" in weights:
        output = output + tf.cast(weights["bias"], output.dtype)
    return layer.activation(output)


def _batch_norm(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    (values,) = inputs
    flat = tf.reshape(values, [-1, 1, 1, tf.shape(values)[-1]]) if values.shape.rank == 2 else values
    width = tf.shape(values)[-1:]
    scale = weights.get("gamma", tf.ones(width))
    offset = weights.get("beta", tf.zeros(width))
    output = tf.raw_ops.FusedBatchNormV3(
        x=flat, scale=scale, offset=offset, mean=[], variance=[], epsilon=layer.epsilon, is_training=True
    )[0]
    return tf.reshape(output, tf.shape(values)) if values.shape.rank == 2 else output


def _activation(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    return layer.activation(inputs[0])


def _add(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    return tf.add_n(inputs) if len(inputs) > 2 else inputs[0] + inputs[1]


_RUN: dict[type, Runner] = {
    keras.layers.Conv2D: _conv,
    keras.layers.DepthwiseConv2D: _depthwise_conv,
    keras.layers.Dense: _dense,
    keras.layers.Activation: _activation,
    keras.layers.Add: _add,
}
