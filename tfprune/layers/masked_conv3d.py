"""Convolution (3D) with a mask on every weight."""

import keras
import tensorflow as tf

from tfprune.layers.masked_weights import MaskedWeights


@keras.saving.register_keras_serializable(package="tfprune")
class MaskedConv3D(MaskedWeights, keras.layers.Conv3D):
    """`keras.layers.Conv3D` that computes with `kernel * mask`.

    See `tfprune.layers.MaskedWeights`; arguments are those of the stock layer, groups and dilation included.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[batch, depth, height, width, in]` to `[batch, depth', height', width', filters]`."""
        return self._finish(self.convolution_op(inputs, self.effective_kernel()))
