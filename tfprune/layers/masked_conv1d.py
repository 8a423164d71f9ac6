"""Convolution (1D) with a mask on every weight."""

import keras
import tensorflow as tf

from tfprune.layers.masked_weights import MaskedWeights


@keras.saving.register_keras_serializable(package="tfprune")
class MaskedConv1D(MaskedWeights, keras.layers.Conv1D):
    """`keras.layers.Conv1D` that computes with `kernel * mask`.

    See `tfprune.layers.MaskedWeights`; arguments are those of the stock layer, groups and dilation included.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[batch, steps, in]` to `[batch, steps', filters]` (or with channels first)."""
        return self._finish(self.convolution_op(inputs, self.effective_kernel()))
