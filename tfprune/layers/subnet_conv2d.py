"""Convolution with a trained sub-network of random weights."""

import keras
import tensorflow as tf

from tfprune.layers.subnet import Subnet


@keras.saving.register_keras_serializable(package="tfprune")
class SubnetConv2D(Subnet, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with a frozen random kernel, of which trained scores pick the weights that take part.

    See `tfprune.layers.Subnet` for what it does and for the arguments it adds.

    Example:
        >>> layer = SubnetConv2D(8, 3, density=0.25, seed=0)
        >>> layer(keras.ops.ones((1, 8, 8, 4))).shape, int(keras.ops.sum(layer.mask))
        (TensorShape([1, 6, 6, 8]), 72)
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Convolves `[batch, height, width, in]` to `[batch, height', width', filters]` (or with channels first)."""
        return self._finish(self.convolution_op(inputs, self._kernel_for(training)))
