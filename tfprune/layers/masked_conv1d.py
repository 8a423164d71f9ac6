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
        padding = self.padding.upper()
        if padding == "CAUSAL":
            inputs, padding = tf.pad(inputs, self._compute_causal_padding()), "VALID"
        kernel = self.effective_kernel()
        outputs = keras.ops.conv(
            inputs, kernel, list(self.strides), padding.lower(), self.data_format, self.dilation_rate
        )
        return self._finish(outputs)
