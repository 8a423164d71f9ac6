"""How many weights a density keeps."""

import tensorflow as tf


def kept_count(size: int, density: tf.Tensor) -> tf.Tensor:
    """Weights to keep out of `size`: all but the whole number of those that the density rules out, and at least one.

    Args:
        size: Number of weights.
        density: Scalar float64 in (0, 1]; in float32, 0.2 of 10 weights could come out as 1.

    Returns:
        Scalar int32, `size - floor((1 - density) * size)` in double arithmetic, as the authors' code has it.

    Example:
        >>> int(kept_count(216, tf.constant(0.2, tf.float64)))
        44

    Reference:
        Diffenderfer & Kailkhura (ICLR 2021), the authors' `GetQuantnet_binary`.
    """
    pruned = tf.cast(tf.floor((1.0 - density) * tf.constant(size, tf.float64)), tf.int32)
    return tf.maximum(size - pruned, 1)
