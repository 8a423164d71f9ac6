"""Depthwise convolution with a mask on every weight."""

import keras
import tensorflow as tf

from tfprune.layers.masked_weights import MaskedWeights


@keras.saving.register_keras_serializable(package="tfprune")
class MaskedDepthwiseConv2D(MaskedWeights, keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` that computes with `kernel * mask`.

    See `tfprune.layers.MaskedWeights`; arguments are those of the stock layer.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[batch, height, width, in]` to `[batch, height', width', in * depth_multiplier]`."""
        return self._finish(self._depthwise(inputs, self.effective_kernel()))

    def _depthwise(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return keras.ops.depthwise_conv(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
