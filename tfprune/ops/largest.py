"""Exactly so many largest values, without sorting, for compiled training steps: all shapes are static."""

from typing import NamedTuple

import tensorflow as tf

_INTERPOLATIONS = 24
_ROW = 4096
_SAMPLE = 1 << 14
_MARGIN = 256  # places in the sample: four standard deviations of what is drawn at random


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
