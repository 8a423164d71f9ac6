"""The sign as an activation with a useful gradient."""

from typing import Any

import keras
import tensorflow as tf

from tfprune.ops import subnet as ops


@keras.saving.register_keras_serializable(package="tfprune", name="binary_activation")
def binary_activation(values: tf.Tensor) -> tf.Tensor:
    """Returns the sign of each value, for `activation=` of any Keras layer; see `BinaryActivation`."""
    return ops.binary_activation(values)


@keras.saving.register_keras_serializable(package="tfprune")
class BinaryActivation(keras.layers.Layer):
    """The sign of each value, 0 at exactly 0, with the gradient of a smooth step.

    The gradient is that of the output times `2 - 2|x|` where `|x| < 1`, and 0 elsewhere.

    Args:
        **kwargs: Those of `keras.layers.Layer`.

    Example:
        >>> BinaryActivation()(keras.ops.array([-0.3, 0.0, 2.0])).numpy().tolist()
        [-1.0, 0.0, 1.0]

    Reference:
        Liu et al., "Bi-Real Net" (ECCV 2018); Diffenderfer & Kailkhura (ICLR 2021).
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps values of any shape to their signs."""
        return ops.binary_activation(inputs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments (Keras requires this method where the dtype policy is an object)."""
        return super().get_config()
