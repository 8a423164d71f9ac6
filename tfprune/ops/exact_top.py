"""Exactly the best of many scores, without sorting."""

import numpy as np
import tensorflow as tf

_INTEGERS = {tf.float32: tf.int32, tf.float64: tf.int64}


def exact_top(scores: tf.Tensor, kept: tf.Tensor | int) -> tf.Tensor:
    """Marks the `kept` largest scores; of equal ones those that come first.

    The threshold is found by bisection on the scores' bit patterns: at most 32 counts over float32 and 64 over
    float64, where sorting ten million scores takes hundreds. Works under XLA.

    Args:
        scores: `[n]`, float32 or float64, of any sign, infinite ones included, no NaN; n < 2^31.
        kept: How many, 0 to n; scalar int32.

    Returns:
        Bool `[n]`, with exactly `kept` times True.

    Example:
        >>> exact_top(tf.constant([-3.0, 1.0, 2.0, 1.0]), 2).numpy().tolist()
        [False, True, True, False]
    """
    keys = _ordered_integers(scores)
    kept = tf.cast(kept, tf.int32)
    size = tf.size(keys)
    threshold = _kth_smallest(keys, tf.minimum(size - kept, size - 1))
    better, ties = keys > threshold, keys == threshold
    # int32 sums: the mask of ten million scores is counted in a fraction of what the bisection takes
    missing = kept - tf.reduce_sum(tf.cast(better, tf.int32))
    first = tf.cumsum(tf.cast(ties, tf.int32)) <= missing
    return tf.logical_or(better, tf.logical_and(ties, first))


def above_kth(scores: tf.Tensor, pruned: tf.Tensor | int) -> tf.Tensor:
    """Marks the scores that are larger than the `pruned`-th smallest: fewer than the rest where scores are equal.

    Args:
        scores: As for `exact_top`.
        pruned: How many are to go, 0 to n; scalar int32. None go for 0.

    Returns:
        Bool `[n]`.

    Example:
        >>> above_kth(tf.constant([3.0, 1.0, 1.0, 1.0]), 1).numpy().tolist()
        [True, False, False, False]

    Reference:
        Tanaka et al., SynFlow (NeurIPS 2020), the authors' `Pruner._global_mask`, which Peek-a-Boo took over.
    """
    keys = _ordered_integers(scores)
    pruned = tf.cast(pruned, tf.int32)
    threshold = _kth_smallest(keys, tf.maximum(pruned, 1) - 1)
    return tf.logical_or(keys > threshold, pruned < 1)


def exact_top_of_array(scores: np.ndarray, kept: int) -> np.ndarray:
    """`exact_top` in NumPy, by sorting.

    Args:
        scores: `[n]`, no NaN.
        kept: How many, 0 to n.

    Returns:
        Bool `[n]`.
    """
    mask = np.zeros(len(scores), bool)
    mask[np.argsort(-scores, kind="stable")[:kept]] = True
    return mask


def _ordered_integers(scores: tf.Tensor) -> tf.Tensor:
    """Integers in the order of the scores; both zeros become 0."""
    scores = tf.convert_to_tensor(scores)
    bits = tf.bitcast(scores, _INTEGERS[scores.dtype])
    return tf.where(bits < 0, bits.dtype.min - bits, bits)


def _kth_smallest(keys: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    """The integer that is at place `k`, counted from 0, when all are in order."""

    def halve(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        middle = (low & high) + tf.bitwise.right_shift(low ^ high, tf.ones([], low.dtype))  # their sum may not fit
        enough = tf.reduce_sum(tf.cast(keys <= middle, tf.int32)) > k
        return tf.where(enough, low, middle + 1), tf.where(enough, middle, high)

    low, _ = tf.while_loop(
        lambda low, high: low < high, halve, [tf.reduce_min(keys), tf.reduce_max(keys)], parallel_iterations=1
    )
    return low
