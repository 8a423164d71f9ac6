"""Uniform quantisation of tensors to a few bits, and the ranges to quantise over."""

import tensorflow as tf

IDENTITY_BITS = 32
"""From so many bits on nothing is quantised."""


def quantize(values: tf.Tensor, bits: int, bound: tf.Tensor, signed: bool) -> tf.Tensor:
    """Rounds values to `2**bits` levels in `[-bound, bound)` (signed) or `[0, bound)`.

    Zeros stay exactly 0, and values beyond the range become the last level. The largest level is `bound - step`.

    Args:
        values: Of any shape and real type.
        bits: Number of bits; from 32 on the values are returned as they are.
        bound: Scalar float32, or of a shape that broadcasts to that of `values`. Where it is 0, all becomes 0.
        signed: Whether levels are on both sides of 0.

    Returns:
        The rounded values, of the shape and type of `values`; computed in float32 where that type is narrower.

    Example:
        >>> quantize(tf.constant([-0.3, 0.0, 0.3, 2.0]), 2, tf.constant(1.0), signed=True).numpy().tolist()
        [-0.5, 0.0, 0.5, 0.5]

    Reference:
        Wang et al., "E2-Train" (NeurIPS 2019), as in the code of Chen et al., "Peek-a-Boo" (ICLR 2022).
    """
    if bits >= IDENTITY_BITS:
        return values
    wide = values if values.dtype == tf.float64 else tf.cast(values, tf.float32)
    bound = tf.cast(bound, wide.dtype)
    step = bound * (2.0 ** (1 - bits) if signed else 2.0**-bits)
    step = tf.where(step > 0, step, tf.ones_like(step))  # zeros are not divided by zero
    levels = tf.round(_clip((wide + bound if signed else wide) / step, 2.0**bits - 1))
    # 0 is a level, and hit exactly: bound / step is a power of two.
    rounded = levels * step - bound if signed else levels * step
    return tf.cast(rounded, values.dtype)


def mean_of_maxima(values: tf.Tensor) -> tf.Tensor:
    """The mean over examples of their largest absolute value, scalar float32 (or float64); 0 for no examples.

    Args:
        values: `[batch, ...]`.
    """
    largest = _largest(tf.reshape(values, [tf.shape(values)[0], -1]), axis=1)
    return tf.math.divide_no_nan(tf.reduce_sum(largest), tf.cast(tf.size(largest), largest.dtype))


def maximum(values: tf.Tensor) -> tf.Tensor:
    """The largest absolute value of a tensor, scalar float32 (or float64); 0 for none."""
    return _largest(tf.reshape(values, [-1]), axis=0)


def _largest(values: tf.Tensor, axis: int) -> tf.Tensor:
    # Two reductions take half the time of a copy with absolute values and one reduction.
    found = tf.maximum(tf.reduce_max(values, axis), -tf.reduce_min(values, axis))
    found = found if found.dtype == tf.float64 else tf.cast(found, tf.float32)
    return tf.maximum(found, 0)  # of no values the reductions make -infinity


def _clip(values: tf.Tensor, last: float) -> tf.Tensor:
    return tf.clip_by_value(values, tf.constant(0, values.dtype), tf.constant(last, values.dtype))
