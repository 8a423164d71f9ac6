"""Elementary symmetric polynomials of eigenvalues, as logarithms."""

from functools import lru_cache, partial

import tensorflow as tf


def log_elementary_symmetric(log_values: tf.Tensor, order: int) -> tf.Tensor:
    """Logarithms of the elementary symmetric polynomials of the first values, for every number of first values.

    Plain float64 over- or underflows for a few hundred values, and half of a k-DPP is made of ratios of these numbers.

    Args:
        log_values: Logarithms of values of at least 0, float64 `[batch, values]`; minus infinity for 0.
        order: The highest order.

    Returns:
        Float64 `[values + 1, batch, order + 1]`: entry `[n, b, j]` is log e_j of the first n values of b.

    Example:
        >>> table = log_elementary_symmetric(tf.math.log(tf.constant([[1.0, 2.0, 3.0]], tf.float64)), 2)
        >>> [round(float(value), 6) for value in tf.exp(table[-1, 0])]
        [1.0, 6.0, 11.0]

    Reference:
        Kulesza and Taskar, Determinantal point processes for machine learning (2012), algorithm 7.
    """
    count, batch = log_values.shape[1], tf.shape(log_values)[0]
    nothing = tf.fill([batch, 1], tf.constant(-float("inf"), tf.float64))
    row = tf.concat([tf.zeros([batch, 1], tf.float64), tf.repeat(nothing, order, axis=1)], 1)
    rows = tf.TensorArray(tf.float64, count + 1, element_shape=[log_values.shape[0], order + 1]).write(0, row)

    def step(n: tf.Tensor, row: tf.Tensor, rows: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        with_value = tf.concat([nothing, row[:, :-1] + log_values[:, n, None]], 1)
        row = _log_add(row, with_value)
        return n + 1, row, rows.write(n + 1, row)

    rows = tf.while_loop(lambda n, *_: n < count, step, [0, row, rows])[2]
    return rows.stack()


def traced_log_elementary_symmetric(log_values: tf.Tensor, order: int) -> tf.Tensor:
    """`log_elementary_symmetric` as a traced function, of which there is one for each shape."""
    return _traced(tuple(log_values.shape), order)(log_values)


@lru_cache(maxsize=64)
def _traced(shape: tuple[int, int], order: int) -> tf.types.experimental.PolymorphicFunction:
    del shape
    return tf.function(partial(log_elementary_symmetric, order=order), autograph=False)


def _log_add(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    high, low = tf.maximum(a, b), tf.minimum(a, b)
    shift = tf.where(tf.math.is_inf(high), tf.zeros_like(high), high)  # inf - inf would be NaN
    return high + tf.math.log1p(tf.exp(low - shift))
