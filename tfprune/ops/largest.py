"""Exactly so many largest values, without sorting."""

import tensorflow as tf

_INTERPOLATIONS = 24


def largest(values: tf.Tensor, count: tf.Tensor | int) -> tf.Tensor:
    """Marks the `count` largest of many values; of equal ones those that come first.

    A threshold is searched for that exactly `count` values exceed. Each step takes one look at all values and says how
    many exceed a candidate. Candidates come from interpolation between the two counts around the wanted one:
    some ten steps for weights and the like (sorting ten million values costs as much as hundreds). After 24 steps the
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

    def unfinished(low: tf.Tensor, high: tf.Tensor, below: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        return tf.logical_and(below > pruned, high - low > 1)

    def narrow(
        low: tf.Tensor,
        high: tf.Tensor,
        below: tf.Tensor,
        missing: tf.Tensor,
        excess: tf.Tensor,
        side: tf.Tensor,
        step: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        bottom, top = _value(tf.maximum(low, 0)), _value(high)
        guess = tf.cast(bottom + (top - bottom) * (missing / (missing + excess)), tf.float32)
        middle = low + (high - low) // 2
        middle = tf.where(step < _INTERPOLATIONS, tf.bitcast(guess, tf.int32), middle)
        middle = tf.clip_by_value(middle, low + 1, high - 1)
        count = tf.reduce_sum(tf.cast(bits <= middle, tf.int32))
        short = count < pruned
        gap = tf.cast(tf.abs(count - pruned), tf.float64)
        # Halving the gap on the side that stays for a second time keeps interpolation from creeping.
        excess = tf.where(short, tf.where(side > 0, excess / 2, excess), gap)
        missing = tf.where(short, gap, tf.where(side < 0, missing / 2, missing))
        return (
            tf.where(short, middle, low),
            tf.where(short, high, middle),
            tf.where(short, below, count),
            missing,
            excess,
            tf.where(short, 1, -1),
            step + 1,
        )

    gaps = tf.cast(pruned, tf.float64), tf.cast(size - pruned, tf.float64)
    # Nothing lies below -1, which stands for the empty side where nothing is pruned.
    start = (tf.constant(-1), tf.where(pruned > 0, tf.reduce_max(bits), -1), tf.where(pruned > 0, size, 0))
    _, threshold, below, *_ = tf.while_loop(unfinished, narrow, (*start, *gaps, tf.constant(0), tf.constant(0)))
    return threshold, below


def _with_ties(bits: tf.Tensor, threshold: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Marks all above a threshold, and the first `kept` at it."""
    ties = bits == threshold
    return tf.logical_or(bits > threshold, tf.logical_and(ties, tf.cumsum(tf.cast(ties, tf.int32)) <= kept))


def _value(bits: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.bitcast(bits, tf.float32), tf.float64)
