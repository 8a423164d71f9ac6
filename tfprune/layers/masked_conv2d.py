"""Convolution (2D) with a mask on every weight."""

import keras
import tensorflow as tf

from tfprune.layers.masked_weights import MaskedWeights


@keras.saving.register_keras_serializable(package="tfprune")
class MaskedConv2D(MaskedWeights, keras.layers.Conv2D):
    """`keras.layers.Conv2D` that computes with `kernel * mask`.

    See `tfprune.layers.MaskedWeights`; arguments are those of the stock layer, groups and dilation included.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[batch, height, width, in]` to `[batch, height', width', filters]` (or with channels first)."""
        return self._finish(self.convolution_op(inputs, self.effective_kernel()))
