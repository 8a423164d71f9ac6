"""Exactly the best of many scores, without sorting."""

import numpy as np
import tensorflow as tf

_INTEGERS = {tf.float32: tf.int32, tf.float64: tf.int64}
_SAMPLE = 1 << 14
_MARGIN = 256  # places in the sample: four standard deviations of what is drawn at random


def exact_top(scores: tf.Tensor, kept: tf.Tensor | int, *, static: bool = False) -> tf.Tensor:
    """Marks the `kept` largest scores; of equal ones those that come first.

    The threshold is found by bisection on bit patterns: at most 32 counts for float32 and 64 for float64, among the
    few scores that lie between two of a sample around it. Sorting ten million scores takes fifty times as long.

    Args:
        scores: `[n]`, float32 or float64, of any sign, infinite ones included, no NaN; n < 2^31. Subnormal ones count
            as 0, as TensorFlow's kernels have it.
        kept: How many, 0 to n; scalar int32.
        static: Count among all scores each time: several times slower, but no shape depends on values, so that XLA can
            compile it.

    Returns:
        Bool `[n]`, with exactly `kept` times True.

    Example:
        >>> exact_top(tf.constant([-3.0, 1.0, 2.0, 1.0]), 2).numpy().tolist()
        [False, True, True, False]
    """
    scores = tf.convert_to_tensor(scores)
    kept = tf.cast(kept, tf.int32)
    size = tf.size(scores)
    below, some = _around(scores, size - kept, static)
    threshold = _kth_smallest(_ordered_integers(some), tf.minimum(size - kept, size - 1) - below)
    limit = _as_score(threshold, scores.dtype)
    best = scores >= limit
    return tf.cond(
        tf.reduce_sum(tf.cast(best, tf.int32)) == kept, lambda: best, lambda: _with_first_ties(scores, limit, kept)
    )


def above_kth(scores: tf.Tensor, pruned: tf.Tensor | int, *, static: bool = False) -> tf.Tensor:
    """Marks the scores that are larger than the `pruned`-th smallest: fewer than the rest where scores are equal.

    Args:
        scores: As for `exact_top`.
        pruned: How many are to go, 0 to n; scalar int32. None go for 0.
        static: As for `exact_top`.

    Returns:
        Bool `[n]`.

    Example:
        >>> above_kth(tf.constant([3.0, 1.0, 1.0, 1.0]), 1).numpy().tolist()
        [True, False, False, False]

    Reference:
        Tanaka et al., SynFlow (NeurIPS 2020), the authors' `Pruner._global_mask`, which Peek-a-Boo took over.
    """
    scores = tf.convert_to_tensor(scores)
    pruned = tf.cast(pruned, tf.int32)
    place = tf.maximum(pruned, 1) - 1
    below, some = _around(scores, place, static)
    threshold = _kth_smallest(_ordered_integers(some), place - below)
    return tf.logical_or(scores > _as_score(threshold, scores.dtype), pruned < 1)


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


def _around(scores: tf.Tensor, place: tf.Tensor, static: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores among which the one at a place of the order is, and how many are below all of these."""
    size = scores.shape[0]
    if static or (size is not None and size <= 4 * _SAMPLE):
        return tf.constant(0), scores
    stride = tf.maximum(tf.size(scores) // _SAMPLE, 1) | 1  # odd, not to meet the same channel each time
    sample = tf.sort(scores[::stride])
    middle, last = place // stride, tf.size(sample) - 1
    endless = tf.constant(np.inf, scores.dtype)
    low = tf.where(middle < _MARGIN, -endless, sample[tf.clip_by_value(middle - _MARGIN, 0, last)])
    high = tf.where(middle > last - _MARGIN, endless, sample[tf.clip_by_value(middle + _MARGIN, 0, last)])
    below = tf.reduce_sum(tf.cast(scores < low, tf.int32))
    around = tf.ensure_shape(tf.logical_and(scores >= low, scores <= high), [None])
    some = tf.boolean_mask(scores, around)
    hit = tf.logical_and(below <= place, place < below + tf.size(some))
    return tf.cond(hit, lambda: (below, some), lambda: (tf.constant(0), scores))


def _with_first_ties(scores: tf.Tensor, limit: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Marks all scores above a limit, and the first ones at it."""
    better, ties = scores > limit, scores == limit
    missing = kept - tf.reduce_sum(tf.cast(better, tf.int32))
    return tf.logical_or(better, tf.logical_and(ties, tf.cumsum(tf.cast(ties, tf.int32)) <= missing))


def _ordered_integers(scores: tf.Tensor) -> tf.Tensor:
    """Integers in the order of the scores; both zeros become 0."""
    bits = tf.bitcast(scores, _INTEGERS[scores.dtype])
    return tf.where(bits < 0, bits.dtype.min - bits, bits)


def _as_score(key: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.bitcast(tf.where(key < 0, key.dtype.min - key, key), dtype)


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
