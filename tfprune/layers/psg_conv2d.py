"""Convolution with predicted weight gradients."""

import keras
import tensorflow as tf

from tfprune.layers.masked_conv2d import MaskedConv2D
from tfprune.layers.psg import PSG
from tfprune.ops.products import AnyProduct, Conv2DProduct


@keras.saving.register_keras_serializable(package="tfprune")
class PSGConv2D(PSG, MaskedConv2D):
    """`MaskedConv2D` whose kernel gets a predicted gradient; see `tfprune.layers.PSG` for the arguments it adds.

    Example:
        >>> layer = PSGConv2D(8, 3, relative_threshold=1e-7, sparsify=True, take_sign=False)
        >>> layer(keras.ops.ones((1, 8, 8, 4))).shape
        TensorShape([1, 6, 6, 8])
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[batch, height, width, in]` to `[batch, height', width', filters]` (or with channels first)."""
        simple = self.groups == 1 and set(self.dilation_rate) == {1} and self.data_format == "channels_last"
        if simple:
            return self._predicting(inputs, Conv2DProduct(self.convolution_op, self.strides, self.padding.upper()))
        return self._predicting(inputs, AnyProduct(self.convolution_op))
