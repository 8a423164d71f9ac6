"""Normalisations that can be differentiated twice.

Keras takes moments with `tf.nn.moments`, which holds the mean in the variance constant when it differentiates. First
derivatives do not notice, second ones are wrong by several per cent.
"""

from typing import Any

import keras
import tensorflow as tf

from tfprune.layers import FusedBatchNormalization


def differentiable_norm(layer: keras.Layer, dtype: str) -> keras.Layer | None:
    """A new layer, without weights as yet, that computes the same and has right second derivatives.

    Args:
        layer: Any layer. It is not changed.
        dtype: What the new one computes in.

    Returns:
        The new layer; None if `layer` is no such normalisation of Keras or tfprune.
    """
    kind = _KINDS.get(type(layer))
    if kind is None or getattr(layer, "rms_scaling", False):
        return None
    known = kind(name=layer.name).get_config()
    config = {key: value for key, value in layer.get_config().items() if key in known}
    return kind.from_config(config | {"dtype": dtype})


class _BatchNormalization(keras.layers.BatchNormalization):
    def _moments(self, inputs: tf.Tensor, mask: Any) -> tuple[tf.Tensor, tf.Tensor]:
        if mask is not None:
            return super()._moments(inputs, mask)  # these have no stopped gradient
        return _moments(inputs, self._reduction_axes, keepdims=False)


class _GroupNormalization(keras.layers.GroupNormalization):
    def _apply_normalization(self, reshaped_inputs: tf.Tensor, input_shape: Any) -> tf.Tensor:
        axes = list(range(1, len(reshaped_inputs.shape)))
        axes.pop(-2 if self.axis == -1 else self.axis - 1)
        mean, variance = _moments(reshaped_inputs, axes, keepdims=True)
        outputs = (reshaped_inputs - mean) * tf.math.rsqrt(variance + self.epsilon)
        shape = self._create_broadcast_shape(input_shape)
        return _affine(outputs, self.gamma if self.scale else None, self.beta if self.center else None, shape)


class _LayerNormalization(keras.layers.LayerNormalization):
    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        rank = len(inputs.shape)
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        axes = sorted(axis % rank for axis in axes)
        mean, variance = _moments(inputs, axes, keepdims=True)
        outputs = (inputs - mean) * tf.math.rsqrt(variance + self.epsilon)
        shape = [inputs.shape[axis] if axis in axes else 1 for axis in range(rank)]
        return _affine(outputs, self.gamma if self.scale else None, self.beta if self.center else None, shape)


def _moments(inputs: tf.Tensor, axes: Any, *, keepdims: bool) -> tuple[tf.Tensor, tf.Tensor]:
    mean = tf.reduce_mean(inputs, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(inputs - mean), axes, keepdims=keepdims)
    return mean if keepdims else tf.squeeze(mean, axes), variance


def _affine(outputs: tf.Tensor, scale: Any, offset: Any, shape: list[int]) -> tf.Tensor:
    if scale is not None:
        outputs = outputs * tf.reshape(tf.cast(scale, outputs.dtype), shape)
    return outputs if offset is None else outputs + tf.reshape(tf.cast(offset, outputs.dtype), shape)


_KINDS: dict[type, type[keras.layers.Layer]] = {
    keras.layers.BatchNormalization: _BatchNormalization,
    FusedBatchNormalization: _BatchNormalization,
    keras.layers.GroupNormalization: _GroupNormalization,
    keras.layers.LayerNormalization: _LayerNormalization,
}
