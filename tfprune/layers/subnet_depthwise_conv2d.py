"""Depthwise convolution with a trained sub-network of random weights."""

from math import prod

import keras
import tensorflow as tf

from tfprune.layers.subnet import Subnet


@keras.saving.register_keras_serializable(package="tfprune")
class SubnetDepthwiseConv2D(Subnet, keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` with a frozen random kernel, of which trained scores pick what takes part.

    See `tfprune.layers.Subnet` for what it does and for the arguments it adds.
    """

    _initializer_key = "depthwise_initializer"

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Convolves `[batch, height, width, in]` to `[batch, height', width', in * depth_multiplier]`."""
        outputs = keras.ops.depthwise_conv(
            inputs,
            self._kernel_for(training),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return self._finish(outputs)

    def _inputs_per_output(self, shape: tuple[int, ...]) -> int:
        return prod(shape[:-2])
