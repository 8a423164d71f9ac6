"""Kernels of sub-networks of random models, whose gradients go to scores, and the sign as an activation."""

import tensorflow as tf


@tf.custom_gradient
def binary_subnet_kernel(kernel: tf.Tensor, scores: tf.Tensor, mask: tf.Tensor, count: tf.Tensor):  # type: ignore[no-untyped-def]
    """Keeps the masked signs of a kernel, times one factor; the gradient goes to the scores.

    Forward: `alpha * sign(kernel) * mask` with `alpha = sum(|kernel| * mask) / count`, where the sign of 0 is 0. With a
    count of 0, alpha is 0 (NaN in the original). Backward: `dL/dscores = dL/doutput * kernel * sign(scores)` for every
    weight, kept or not; mask and alpha are constants, and the kernel gets no gradient.

    Args:
        kernel: Frozen weights, of any shape; float32.
        scores: Scores, of the same shape.
        mask: Bool, of the same shape.
        count: Scalar that the sum is divided by: with the number of kept weights, alpha is their mean magnitude.

    Returns:
        The effective kernel.

    Reference:
        Diffenderfer & Kailkhura, "Multi-Prize Lottery Ticket Hypothesis" (ICLR 2021), as corrected in the authors' code
        in April 2021.
    """
    kept = tf.where(mask, kernel, tf.zeros([], kernel.dtype))
    output = tf.sign(kept) * tf.math.divide_no_nan(tf.reduce_sum(tf.abs(kept)), tf.cast(count, kernel.dtype))

    def backward(upstream: tf.Tensor) -> tuple[None, tf.Tensor, None, None]:
        return None, upstream * kernel * tf.sign(scores), None, None

    return output, backward


@tf.custom_gradient
def sampled_subnet_kernel(kernel: tf.Tensor, scores: tf.Tensor, uniform: tf.Tensor):  # type: ignore[no-untyped-def]
    """Keeps each weight with the probability `sigmoid(score)`; the gradient is that of the probability.

    Forward: `kernel * [uniform < sigmoid(scores)]`; backward: `dL/dscores = dL/doutput * kernel * sigmoid'(scores)`;
    the kernel gets no gradient.

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


@tf.custom_gradient
def binary_activation(values: tf.Tensor):  # type: ignore[no-untyped-def]
    """Returns the sign of each value, 0 at exactly 0, with the gradient of a smooth step from -1 to 1.

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
