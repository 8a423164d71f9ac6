"""How many weights a density keeps."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

_INTEGERS = {tf.float32: tf.int32, tf.float64: tf.int64}
_SAMPLE = 1 << 14
_MARGIN = 256  # places in the sample: four standard deviations of what is drawn at random
_INTERPOLATIONS = 24
_ROW = 4096


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


def largest(values: tf.Tensor, count: tf.Tensor | int) -> tf.Tensor:
    """Marks the `count` largest of many values; of equal ones those that come first.

    A threshold is searched for that exactly `count` values exceed. Each step takes one look at all values and says how
    many exceed a candidate. The first two come from a sample, others from interpolation between the two counts around
    the wanted one: some six steps for weights and the like (sorting ten million values costs hundreds). After 24 the
    interval is halved in terms of the floating-point numbers in it, so there are never more than 56.

    Args:
        values: `[n]`, float32, finite and not below 0.
        count: How many, 1 to n; scalar int32.

    Returns:
        Bool `[n]`, with exactly `count` times True.

    Example:
        >>> largest(tf.constant([3.0, 1.0, 2.0, 2.0]), 2).numpy().tolist()
        [True, False, True, False]

    Reference:
        Dowell & Jarratt, "A modified regula falsi method" (BIT 1971): the Illinois variant.
    """
    # Floats that are not negative are in the order of the integers that their bits make.
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
    """The bits at or below which `pruned` values lie, or with ties the fewest that are more; and how many do."""

    def unfinished(state: _Search) -> tf.Tensor:
        return tf.logical_and(state.below_high > pruned, state.high - state.low > 1)

    def narrow(state: _Search) -> tuple[_Search]:
        # Where values are equal no count may be the wanted one, and steps to the next value end the search.
        close = tf.logical_or(pruned - state.below_low <= 2, tf.logical_and(state.step > 8, state.step % 4 == 0))
        stride = tf.logical_and(close, state.step < _INTERPOLATIONS)
        middle = tf.cond(stride, lambda: _next(bits, state.low), lambda: _between(state))
        count = tf.reduce_sum(tf.cast(bits <= middle, tf.int32))
        return (_narrowed(state, middle, count, pruned, stride),)

    (last,) = tf.while_loop(unfinished, narrow, (_start(bits, size, pruned),), parallel_iterations=1)
    return last.high, last.below_high


class _Search(NamedTuple):
    """The interval within which the threshold lies: above `low`, at most `high`.

    Attributes:
        low: Bits of a value.
        high: Bits of a value.
        below_low: Values at or below `low`; fewer than wanted.
        below_high: Values at or below `high`; as many as wanted, or more.
        missing: By how many there are fewer, or less than that once a side stayed where it was.
        excess: By how many there are more, or less than that.
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
    """An interval for sure, and a narrow one where a sample of many values gives one."""
    # Nothing lies below -1, which stands for the empty side where nothing is pruned.
    low, below_low = tf.constant(-1), tf.constant(0)
    high, below_high = tf.where(pruned > 0, tf.reduce_max(bits), -1), tf.where(pruned > 0, size, 0)
    stride = (bits.shape[0] or 0) // _SAMPLE | 1  # odd, not to meet the same channel each time
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
    """The smallest value above another."""
    return tf.reduce_min(tf.where(bits > low, bits, tf.int32.max))


def _between(state: _Search) -> tf.Tensor:
    """A candidate inside the interval: by interpolation, or its middle if that took too long."""
    bottom, top = _value(tf.maximum(state.low, 0)), _value(state.high)
    guess = tf.cast(bottom + (top - bottom) * (state.missing / (state.missing + state.excess)), tf.float32)
    middle = state.low + (state.high - state.low) // 2
    middle = tf.where(state.step < _INTERPOLATIONS, tf.bitcast(guess, tf.int32), middle)
    return tf.clip_by_value(middle, state.low + 1, state.high - 1)


def _narrowed(state: _Search, middle: tf.Tensor, count: tf.Tensor, pruned: tf.Tensor, stride: tf.Tensor) -> _Search:
    """The interval after `count` values were found at or below `middle`."""
    short = count < pruned
    gap = tf.cast(tf.abs(count - pruned), tf.float64)
    # Halving the gap on the side that stays for a second time keeps interpolation from creeping.
    excess, missing = state.excess, state.missing
    return _Search(
        # After a stride nothing lies between the two ends.
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
    """Marks all above a threshold, and the first `kept` at it."""
    ties = bits == threshold
    # A running count of all values would take longer than the rest: count rows, then within the one that matters.
    rows = tf.reshape(tf.pad(ties, [[0, -tf.size(ties) % _ROW]]), [-1, _ROW])
    through = tf.cumsum(tf.reduce_sum(tf.cast(rows, tf.int32), 1))
    row = tf.reduce_sum(tf.cast(through < kept, tf.int32))
    before = tf.reduce_max(tf.where(through < kept, through, 0))
    inside = tf.cumsum(tf.cast(rows[row], tf.int32))
    last = row * _ROW + tf.reduce_sum(tf.cast(inside < kept - before, tf.int32))
    return tf.logical_or(bits > threshold, tf.logical_and(ties, tf.range(tf.size(ties)) <= last))


def _value(bits: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.bitcast(bits, tf.float32), tf.float64)
