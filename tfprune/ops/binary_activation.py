"""The sign of activations, with a gradient that training can use."""

import tensorflow as tf


@tf.custom_gradient
def binary_activation(values: tf.Tensor):  # type: ignore[no-untyped-def]
    """The sign of each value, 0 at exactly 0; backward as if it were a smooth step from -1 to 1.

    The gradient is `2 - 2|x|` within (-1, 1) and 0 outside.

    Args:
        values: Of any shape.

    Returns:
        -1, 0 or 1, in the shape and type of `values`.

    Example:
        >>> binary_activation(tf.constant([-0.3, 0.0, 2.0])).numpy().tolist()
        [-1.0, 0.0, 1.0]

    Reference:
        Liu et al., "Bi-Real Net" (ECCV 2018), the piecewise polynomial approximation.
    """

    def backward(upstream: tf.Tensor) -> tf.Tensor:
        two = tf.constant(2, values.dtype)
        return upstream * (two - two * tf.minimum(tf.abs(values), tf.ones([], values.dtype)))

    return tf.sign(values), backward
