"""Dense layer with predicted weight gradients."""

import keras
import tensorflow as tf

from tfprune.layers.masked_dense import MaskedDense
from tfprune.layers.psg import PSG
from tfprune.ops.products import DenseProduct


@keras.saving.register_keras_serializable(package="tfprune")
class PSGDense(PSG, MaskedDense):
    """`MaskedDense` whose kernel gets a predicted gradient; see `tfprune.layers.PSG` for the arguments it adds."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Maps `[..., in]` to `[..., units]`."""
        return self._predicting(inputs, DenseProduct(keras.ops.matmul))
