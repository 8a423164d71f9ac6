"""Exact selection of the largest of many values, for masks of millions of weights.

Sorting so many values is slow, so both selections search for a threshold. `exact_top` works on float32 and float64 of
any sign, outside of compiled steps: it bisects bit patterns among the few values around the threshold. `largest`
works on float32 values that are not negative, has static shapes, and so runs within compiled training steps: it
interpolates between counts. `above_kth` selects as SynFlow's authors do, with ties dropped.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

_INTEGERS = {tf.float32: tf.int32, tf.float64: tf.int64}
_SAMPLE = 1 << 14
_MARGIN = 256  # positions in the sample: four standard deviations of a random one
_INTERPOLATIONS = 24
_ROW = 4096


def exact_top(scores: tf.Tensor, kept: tf.Tensor | int) -> tf.Tensor:
    """Marks the `kept` largest scores; of equal scores the first ones.

    The threshold is found by bisection on bit patterns, with at most 32 counts for float32 and 64 for float64, among
    the few scores between two values of a sample. Sorting ten million scores takes fifty times as long. XLA cannot
    compile this function, as shapes depend on values; `largest` is for compiled training steps.

    Args:
        scores: `[n]`, float32 or float64, of any sign, may be infinite but not NaN; n < 2^31. Subnormal numbers
            count as 0, as in TensorFlow's kernels.
        kept: Number of scores to mark, 0 to n; scalar int32.

    Returns:
        Bool `[n]`, True exactly `kept` times.

    Example:
        >>> exact_top(tf.constant([-3.0, 1.0, 2.0, 1.0]), 2).numpy().tolist()
        [False, True, True, False]
    """
    return exact_top_of_all([scores], kept)[0]


def exact_top_of_all(scores: Sequence[tf.Tensor], kept: tf.Tensor | int) -> list[tf.Tensor]:
    """Marks the `kept` largest scores of several vectors, like `exact_top`, without concatenating them.

    Args:
        scores: Vectors of one type, as for `exact_top`.
        kept: Number of scores to mark in all vectors.

    Returns:
        Bool vectors of the same sizes, True `kept` times in all; of equal scores the first ones, those in earlier
        vectors first.

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
    """Marks the scores that are larger than the `pruned`-th smallest; scores equal to it are not marked.

    Args:
        scores: As for `exact_top`.
        pruned: Number of scores to prune, 0 to n; scalar int32. With 0, all are marked.

    Returns:
        Bool `[n]`.

    Example:
        >>> above_kth(tf.constant([3.0, 1.0, 1.0, 1.0]), 1).numpy().tolist()
        [True, False, False, False]

    Reference:
        Tanaka et al., SynFlow (NeurIPS 2020), the authors' `Pruner._global_mask`, which Peek-a-Boo adopted.
    """
    return above_kth_of_all([scores], pruned)[0]


def above_kth_of_all(scores: Sequence[tf.Tensor], pruned: tf.Tensor | int) -> list[tf.Tensor]:
    """Marks the scores of several vectors that are larger than the `pruned`-th smallest, like `above_kth`.

    Args:
        scores: Vectors of one type, as for `exact_top`.
        pruned: Number of scores to prune in all vectors.

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
    """Marks the `kept` largest scores of a NumPy array, like `exact_top`, by sorting.

    Args:
        scores: `[n]`, no NaN.
        kept: Number of scores to mark, 0 to n.

    Returns:
        Bool `[n]`.
    """
    mask = np.zeros(len(scores), bool)
    mask[np.argsort(-scores, kind="stable")[:kept]] = True
    return mask


def _around(scores: list[tf.Tensor], place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns some scores that include the one at a position of the sorted order, and the number of scores below."""
    sizes = [vector.shape[0] for vector in scores]
    if None not in sizes and sum(sizes) <= 4 * _SAMPLE:
        return tf.constant(0), tf.concat(scores, 0)
    size = tf.add_n([tf.size(vector) for vector in scores])
    stride = tf.maximum(size // _SAMPLE, 1) | 1  # odd, so that samples come from all channels
    sample = tf.sort(tf.concat([vector[::stride] for vector in scores], 0))
    middle = tf.cast(tf.cast(place, tf.int64) * tf.size(sample, tf.int64) // tf.cast(size, tf.int64), tf.int32)
    last = tf.size(sample) - 1
    endless = tf.constant(np.inf, sample.dtype)
    low, high = (sample[tf.clip_by_value(middle + margin, 0, last)] for margin in (-_MARGIN, _MARGIN))
    low = tf.ensure_shape(tf.where(middle < _MARGIN, -endless, low), [])
    high = tf.ensure_shape(tf.where(middle > last - _MARGIN, endless, high), [])
    # above the lower bound, not at it: pruned weights have many equal scores
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
    """Returns integers in the order of the scores; both zeros become 0."""
    bits = tf.bitcast(scores, _INTEGERS[scores.dtype])
    return tf.where(bits < 0, bits.dtype.min - bits, bits)


def _as_score(key: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.bitcast(tf.where(key < 0, key.dtype.min - key, key), dtype)


def _kth_smallest(keys: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    """Returns the integer at position `k`, counted from 0, of the sorted order."""

    def halve(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        middle = (low & high) + tf.bitwise.right_shift(low ^ high, tf.ones([], low.dtype))  # their sum may overflow
        enough = tf.reduce_sum(tf.cast(keys <= middle, tf.int32)) > k
        return tf.where(enough, low, middle + 1), tf.where(enough, middle, high)

    low, _ = tf.while_loop(
        lambda low, high: low < high, halve, [tf.reduce_min(keys), tf.reduce_max(keys)], parallel_iterations=1
    )
    return low


def largest(values: tf.Tensor, count: tf.Tensor | int) -> tf.Tensor:
    """Marks the `count` largest of many values; of equal values the first ones.

    The function searches for a threshold that exactly `count` values exceed. Each step counts the values that exceed a
    candidate. The first two candidates come from a sample, others from interpolation between the two counts around the
    wanted one: about six steps for weights (sorting ten million values costs hundreds). After 24 steps the interval is
    halved in terms of the floating-point numbers in it, so there are never more than 56.

    Args:
        values: `[n]`, float32, finite and at least 0.
        count: Number of values to mark, 1 to n; scalar int32.

    Returns:
        Bool `[n]`, True exactly `count` times.

    Example:
        >>> largest(tf.constant([3.0, 1.0, 2.0, 2.0]), 2).numpy().tolist()
        [True, False, True, False]

    Reference:
        Dowell & Jarratt, "A modified regula falsi method" (BIT 1971): the Illinois variant.
    """
    # Floats that are not negative have the order of their bits as integers.
    bits = tf.bitcast(values, tf.int32)
    size = tf.size(bits)
    pruned = size - count
    threshold, below = _threshold(bits, size, pruned)
    return tf.cond(
        below > pruned,
        lambda: _with_ties(bits, threshold, below - pruned),
        lambda: bits > threshold,
    )


def _threshold(bits: tf.Tensor, size: tf.Tensor, pruned: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the bits at or below which `pruned` values lie, or with ties the fewest more, and their count."""

    def unfinished(state: _Search) -> tf.Tensor:
        return tf.logical_and(state.below_high > pruned, state.high - state.low > 1)

    def narrow(state: _Search) -> tuple[_Search]:
        # With equal values, no candidate may have the wanted count; steps to the next value end the search.
        close = tf.logical_or(pruned - state.below_low <= 2, tf.logical_and(state.step > 8, state.step % 4 == 0))
        stride = tf.logical_and(close, state.step < _INTERPOLATIONS)
        middle = tf.cond(stride, lambda: _next(bits, state.low), lambda: _between(state))
        count = tf.reduce_sum(tf.cast(bits <= middle, tf.int32))
        return (_narrowed(state, middle, count, pruned, stride),)

    (last,) = tf.while_loop(unfinished, narrow, (_start(bits, size, pruned),), parallel_iterations=1)
    return last.high, last.below_high


class _Search(NamedTuple):
    """The interval that contains the threshold: above `low`, at most `high`.

    Attributes:
        low: Bits of a value.
        high: Bits of a value.
        below_low: Number of values at or below `low`; fewer than wanted.
        below_high: Number of values at or below `high`; as many as wanted, or more.
        missing: How many fewer than wanted; halved when the end stays twice.
        excess: How many more than wanted; likewise.
        side: Which end moved last: 1 for `low`, -1 for `high`.
        step: Steps taken.
    """

    low: tf.Tensor
    high: tf.Tensor
    below_low: tf.Tensor
    below_high: tf.Tensor
    missing: tf.Tensor
    excess: tf.Tensor
    side: tf.Tensor
    step: tf.Tensor


def _start(bits: tf.Tensor, size: tf.Tensor, pruned: tf.Tensor) -> _Search:
    """Returns an interval that contains the threshold, narrowed by a sample where there are many values."""
    # No value lies below -1, which is the lower end where nothing is pruned.
    low, below_low = tf.constant(-1), tf.constant(0)
    high, below_high = tf.where(pruned > 0, tf.reduce_max(bits), -1), tf.where(pruned > 0, size, 0)
    stride = (bits.shape[0] or 0) // _SAMPLE | 1  # odd, so that samples come from all channels
    if stride > 4:
        sample = tf.sort(bits[::stride])
        place, last = pruned // stride, sample.shape[0] - 1
        for end in (-_MARGIN, _MARGIN):
            candidate = sample[tf.clip_by_value(place + end, 0, last)]
            count = tf.reduce_sum(tf.cast(bits <= candidate, tf.int32))
            beneath = tf.logical_and(count < pruned, candidate > low)
            above = tf.logical_and(tf.logical_and(count >= pruned, pruned > 0), candidate < high)
            low, below_low = tf.where(beneath, candidate, low), tf.where(beneath, count, below_low)
            high, below_high = tf.where(above, candidate, high), tf.where(above, count, below_high)
    return _Search(
        low=low,
        high=high,
        below_low=below_low,
        below_high=below_high,
        missing=tf.cast(pruned - below_low, tf.float64),
        excess=tf.cast(below_high - pruned, tf.float64),
        side=tf.constant(0),
        step=tf.constant(0),
    )


def _next(bits: tf.Tensor, low: tf.Tensor) -> tf.Tensor:
    """Returns the smallest value above another."""
    return tf.reduce_min(tf.where(bits > low, bits, tf.int32.max))


def _between(state: _Search) -> tf.Tensor:
    """Returns a candidate inside the interval: by interpolation, or the middle after too many steps."""
    bottom, top = _value(tf.maximum(state.low, 0)), _value(state.high)
    guess = tf.cast(bottom + (top - bottom) * (state.missing / (state.missing + state.excess)), tf.float32)
    middle = state.low + (state.high - state.low) // 2
    middle = tf.where(state.step < _INTERPOLATIONS, tf.bitcast(guess, tf.int32), middle)
    return tf.clip_by_value(middle, state.low + 1, state.high - 1)


def _narrowed(state: _Search, middle: tf.Tensor, count: tf.Tensor, pruned: tf.Tensor, stride: tf.Tensor) -> _Search:
    """Returns the interval after `count` values were found at or below `middle`."""
    short = count < pruned
    gap = tf.cast(tf.abs(count - pruned), tf.float64)
    # Halving the gap of an end that stays for a second time keeps interpolation from converging slowly (Illinois).
    excess, missing = state.excess, state.missing
    return _Search(
        # After a step to the next value, no value lies between the two ends.
        low=tf.where(short, middle, tf.where(stride, middle - 1, state.low)),
        high=tf.where(short, state.high, middle),
        below_low=tf.where(short, count, state.below_low),
        below_high=tf.where(short, state.below_high, count),
        missing=tf.where(short, gap, tf.where(state.side < 0, missing / 2, missing)),
        excess=tf.where(short, tf.where(state.side > 0, excess / 2, excess), gap),
        side=tf.where(short, 1, -1),
        step=state.step + 1,
    )


def _with_ties(bits: tf.Tensor, threshold: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Marks all values above a threshold, and the first `kept` values at it."""
    ties = bits == threshold
    # A running count over all values would be slow: count by rows, then within the row that matters.
    rows = tf.reshape(tf.pad(ties, [[0, -tf.size(ties) % _ROW]]), [-1, _ROW])
    through = tf.cumsum(tf.reduce_sum(tf.cast(rows, tf.int32), 1))
    row = tf.reduce_sum(tf.cast(through < kept, tf.int32))
    before = tf.reduce_max(tf.where(through < kept, through, 0))
    inside = tf.cumsum(tf.cast(rows[row], tf.int32))
    last = row * _ROW + tf.reduce_sum(tf.cast(inside < kept - before, tf.int32))
    return tf.logical_or(bits > threshold, tf.logical_and(ties, tf.range(tf.size(ties)) <= last))


def _value(bits: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.bitcast(bits, tf.float32), tf.float64)
