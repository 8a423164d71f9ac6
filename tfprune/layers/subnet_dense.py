"""Dense layer with a trained sub-network of random weights."""

import keras
import tensorflow as tf

from tfprune.layers.subnet import Subnet


@keras.saving.register_keras_serializable(package="tfprune")
class SubnetDense(Subnet, keras.layers.Dense):
    """`keras.layers.Dense` with a frozen random kernel, of which trained scores pick the weights that take part.

    See `tfprune.layers.Subnet` for what it does and for the arguments it adds.

    Example:
        >>> layer = SubnetDense(10, density=0.2, seed=0)
        >>> layer(keras.ops.ones((1, 50))).shape, int(keras.ops.sum(layer.mask))
        (TensorShape([1, 10]), 100)
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Maps `[..., in]` to `[..., units]`."""
        return self._finish(keras.ops.matmul(inputs, self._kernel_for(training)))
