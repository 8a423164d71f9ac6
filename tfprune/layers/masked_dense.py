"""Dense layer with a mask on every weight."""

import keras
import tensorflow as tf

from tfprune.layers.masked_weights import MaskedWeights


@keras.saving.register_keras_serializable(package="tfprune")
class MaskedDense(MaskedWeights, keras.layers.Dense):
    """`keras.layers.Dense` that computes with `kernel * mask`.

    See `tfprune.layers.MaskedWeights`; arguments are those of the stock layer.

    Example:
        >>> layer = MaskedDense(2, kernel_initializer="ones")
        >>> layer.build((None, 3))
        >>> layer.mask.assign([[1, 0], [1, 0], [0, 0]])  # doctest: +SKIP
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Maps `[..., in]` to `[..., units]`."""
        return self._finish(keras.ops.matmul(inputs, self.effective_kernel()))
