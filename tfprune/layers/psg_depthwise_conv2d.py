"""Depthwise convolution with predicted weight gradients."""

import keras
import tensorflow as tf

from tfprune.layers.masked_depthwise_conv2d import MaskedDepthwiseConv2D
from tfprune.layers.psg import PSG
from tfprune.ops.products import AnyProduct, Conv2DProduct


@keras.saving.register_keras_serializable(package="tfprune")
class PSGDepthwiseConv2D(PSG, MaskedDepthwiseConv2D):
    """`MaskedDepthwiseConv2D` whose kernel gets a predicted gradient; see `tfprune.layers.PSG` for what it adds."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[batch, height, width, in]` to `[batch, height', width', in * depth_multiplier]`."""
        equal = self.strides[0] == self.strides[1]
        if equal and set(self.dilation_rate) == {1} and self.data_format == "channels_last":
            product = Conv2DProduct(self._depthwise, self.strides, self.padding.upper(), depthwise=True)
            return self._predicting(inputs, product)
        return self._predicting(inputs, AnyProduct(self._depthwise))
