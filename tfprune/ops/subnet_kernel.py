"""Kernels of sub-networks of random networks, whose gradients go to scores."""

import tensorflow as tf


@tf.custom_gradient
def binary_subnet_kernel(kernel: tf.Tensor, scores: tf.Tensor, mask: tf.Tensor, scale: tf.Tensor):  # type: ignore[no-untyped-def]
    """Keeps the masked signs of a kernel, times one factor; the gradient goes to the scores.

    Forward `scale * sign(kernel) * mask`, where the sign of 0 is 0. Backward `dL/dscores = dL/doutput * kernel *
    sign(scores)` for every weight, kept or not; mask and scale count as constants, and the kernel gets no gradient.

    Args:
        kernel: Frozen weights, of any shape; float32.
        scores: Of the same shape.
        mask: Bool, of the same shape.
        scale: Scalar.

    Returns:
        The effective kernel.

    Reference:
        Diffenderfer & Kailkhura, "Multi-Prize Lottery Ticket Hypothesis" (ICLR 2021), as corrected in the authors' code
        in April 2021.
    """
    output = tf.where(mask, tf.sign(kernel) * scale, tf.zeros([], kernel.dtype))

    def backward(upstream: tf.Tensor) -> tuple[None, tf.Tensor, None, None]:
        return None, upstream * kernel * tf.sign(scores), None, None

    return output, backward


@tf.custom_gradient
def sampled_subnet_kernel(kernel: tf.Tensor, scores: tf.Tensor, uniform: tf.Tensor):  # type: ignore[no-untyped-def]
    """Keeps each weight with the probability `sigmoid(score)`; the gradient passes the drawing straight through.

    Forward `kernel * [uniform < sigmoid(scores)]`, backward `dL/dscores = dL/doutput * kernel * sigmoid'(scores)`; the
    kernel gets no gradient.

    Args:
        kernel: Frozen weights, of any shape.
        scores: Log odds of being kept, of the same shape.
        uniform: Random numbers in `[0, 1)`, of the same shape.

    Returns:
        The effective kernel.

    Reference:
        Zhou et al., "Deconstructing Lottery Tickets" (NeurIPS 2019), supermasks.
    """
    chances = tf.sigmoid(scores)
    output = tf.where(uniform < chances, kernel, tf.zeros([], kernel.dtype))

    def backward(upstream: tf.Tensor) -> tuple[None, tf.Tensor, None]:
        return None, upstream * kernel * chances * (1.0 - chances), None

    return output, backward


def subnet_scale(kernel: tf.Tensor, mask: tf.Tensor, count: tf.Tensor | None = None) -> tf.Tensor:
    """The factor of a binary kernel: the mean of the kept weights' absolute values.

    Args:
        kernel: Of any shape, float32.
        mask: Bool, of the same shape.
        count: What to divide by instead of the number of kept weights; scalar.

    Returns:
        Scalar; 0 where nothing is kept (the original has NaN there).
    """
    total = tf.reduce_sum(tf.where(mask, tf.abs(kernel), tf.zeros([], kernel.dtype)))
    if count is None:
        count = tf.reduce_sum(tf.cast(mask, tf.int32))
    return tf.math.divide_no_nan(total, tf.cast(count, kernel.dtype))
