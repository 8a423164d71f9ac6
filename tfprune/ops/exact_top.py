"""Exactly the best of many scores, without sorting."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_INTEGERS = {tf.float32: tf.int32, tf.float64: tf.int64}
_SAMPLE = 1 << 14
_MARGIN = 256  # places in the sample: four standard deviations of what is drawn at random


def exact_top(scores: tf.Tensor, kept: tf.Tensor | int) -> tf.Tensor:
    """Marks the `kept` largest scores; of equal ones those that come first.

    The threshold is found by bisection on bit patterns: at most 32 counts for float32 and 64 for float64, among the
    few scores that lie between two of a sample around it. Sorting ten million scores takes fifty times as long. XLA
    cannot compile it, as shapes depend on values: `largest` is for compiled training steps.

    Args:
        scores: `[n]`, float32 or float64, of any sign, infinite ones included, no NaN; n < 2^31. Subnormal ones count
            as 0, as TensorFlow's kernels have it.
        kept: How many, 0 to n; scalar int32.

    Returns:
        Bool `[n]`, with exactly `kept` times True.

    Example:
        >>> exact_top(tf.constant([-3.0, 1.0, 2.0, 1.0]), 2).numpy().tolist()
        [False, True, True, False]
    """
    return exact_top_of_all([scores], kept)[0]


def exact_top_of_all(scores: Sequence[tf.Tensor], kept: tf.Tensor | int) -> list[tf.Tensor]:
    """`exact_top` over several vectors at once, which saves putting them together.

    Args:
        scores: Vectors of one type, as for `exact_top`.
        kept: How many, in all.

    Returns:
        Bool vectors of the same sizes, with `kept` times True in all; of equal scores the first ones count, those of
        the first vector before those of the second.

    Example:
        >>> [mask.numpy().tolist() for mask in exact_top_of_all([tf.constant([1.0, 3.0]), tf.constant([1.0])], 2)]
        [[True, True], [False]]
    """
    scores = [tf.convert_to_tensor(vector) for vector in scores]
    kept = tf.cast(kept, tf.int32)
    size = tf.add_n([tf.size(vector) for vector in scores])
    below, some = _around(scores, size - kept)
    threshold = _kth_smallest(_ordered_integers(some), tf.minimum(size - kept, size - 1) - below)
    limit = _as_score(threshold, some.dtype)
    at_least = size - below - tf.size(some) + _count(some >= limit)
    return tf.cond(
        at_least == kept,
        lambda: [vector >= limit for vector in scores],
        lambda: _with_first_ties(scores, limit, kept),
    )


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
    return above_kth_of_all([scores], pruned)[0]


def above_kth_of_all(scores: Sequence[tf.Tensor], pruned: tf.Tensor | int) -> list[tf.Tensor]:
    """`above_kth` over several vectors at once.

    Args:
        scores: Vectors of one type, as for `exact_top`.
        pruned: How many are to go, in all.

    Returns:
        Bool vectors of the same sizes.
    """
    scores = [tf.convert_to_tensor(vector) for vector in scores]
    pruned = tf.cast(pruned, tf.int32)
    place = tf.maximum(pruned, 1) - 1
    below, some = _around(scores, place)
    limit = _as_score(_kth_smallest(_ordered_integers(some), place - below), some.dtype)
    return [tf.logical_or(vector > limit, pruned < 1) for vector in scores]


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


def _around(scores: list[tf.Tensor], place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores among which the one at a place of the order is, and how many are below all of these."""
    sizes = [vector.shape[0] for vector in scores]
    if None not in sizes and sum(sizes) <= 4 * _SAMPLE:
        return tf.constant(0), tf.concat(scores, 0)
    size = tf.add_n([tf.size(vector) for vector in scores])
    stride = tf.maximum(size // _SAMPLE, 1) | 1  # odd, not to meet the same channel each time
    sample = tf.sort(tf.concat([vector[::stride] for vector in scores], 0))
    middle = tf.cast(tf.cast(place, tf.int64) * tf.size(sample, tf.int64) // tf.cast(size, tf.int64), tf.int32)
    last = tf.size(sample) - 1
    endless = tf.constant(np.inf, sample.dtype)
    low, high = (sample[tf.clip_by_value(middle + margin, 0, last)] for margin in (-_MARGIN, _MARGIN))
    low = tf.ensure_shape(tf.where(middle < _MARGIN, -endless, low), [])
    high = tf.ensure_shape(tf.where(middle > last - _MARGIN, endless, high), [])
    # above the lower bound, not at it: of scores that are pruned already there are many, all of one value
    above = [vector > low for vector in scores]
    below = size - tf.add_n([_count(mark) for mark in above])
    around = [tf.logical_and(mark, vector <= high) for mark, vector in zip(above, scores, strict=True)]
    some = tf.concat([tf.boolean_mask(vector, mark) for vector, mark in zip(scores, around, strict=True)], 0)
    hit = tf.logical_and(below <= place, place < below + tf.size(some))
    return tf.cond(hit, lambda: (below, some), lambda: (tf.constant(0), tf.concat(scores, 0)))


def _with_first_ties(scores: list[tf.Tensor], limit: tf.Tensor, kept: tf.Tensor) -> list[tf.Tensor]:
    """Marks all scores above a limit, and the first ones at it."""
    better = [vector > limit for vector in scores]
    missing = kept - tf.add_n([_count(mark) for mark in better])
    result = []
    for vector, mark in zip(scores, better, strict=True):
        ties = vector == limit
        places = tf.cumsum(tf.cast(ties, tf.int32))
        result.append(tf.logical_or(mark, tf.logical_and(ties, places <= missing)))
        missing -= _count(ties)
    return result


def _count(marks: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(marks, tf.int32))


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
