"""When a weight's sign flips: the rules of Bop and its relatives, as functions of tensors."""

from typing import Literal, NamedTuple, TypeAlias, get_args

import tensorflow as tf

Variant: TypeAlias = Literal["peekaboo", "paper", "larq"]
VARIANTS: tuple[str, ...] = get_args(Variant)


class Rates(NamedTuple):
    """The two weights of the moving average, scalars of the weight's type: `1 - rate` and `rate`.

    Both are rounded from double precision, which is not the same as rounding the rate first.
    """

    keep: tf.Tensor
    gain: tf.Tensor


def next_average(
    variant: Variant, average: tf.Tensor, gradient: tf.Tensor, rates: Rates, first_step: tf.Tensor
) -> tf.Tensor:
    """The moving average of the gradient after one more gradient.

    Args:
        variant: `"peekaboo"` starts at `(1 + rate) * gradient`, the others at `rate * gradient`.
        average: The average before, zeros at the start; the shape and type of the weight.
        gradient: The gradient, in the same shape and type.
        rates: Scalars.
        first_step: Bool scalar, whether this is the first gradient ever; only `"peekaboo"` asks.

    Returns:
        The new average.

    Example:
        >>> rates = Rates(tf.constant(0.75), tf.constant(0.25))
        >>> start, gradient = tf.zeros(1), tf.ones(1)
        >>> float(next_average("paper", start, gradient, rates, tf.constant(True))[0])
        0.25
        >>> float(next_average("peekaboo", start, gradient, rates, tf.constant(True))[0])
        1.25
    """
    if variant == "larq":
        return average + rates.gain * (gradient - average)
    if variant == "paper":
        return rates.keep * average + rates.gain * gradient
    # The original adds in this order: the products are rounded before the sum.
    kept = tf.cond(first_step, lambda: gradient, lambda: rates.keep * average)
    return kept + rates.gain * gradient


def flips(variant: Variant, weight: tf.Tensor, average: tf.Tensor, threshold: float) -> tf.Tensor:
    """Which weights change their sign.

    Args:
        variant: `"peekaboo"`: `|average| >= threshold` and equal signs (that of 0 is 0, so with the threshold 0 exact
            zeros count as flipped, to no effect). `"paper"`: the same with `>`. `"larq"`: `weight * average >
            threshold`, which weighs the average with the weight's magnitude where that is not 1.
        weight: Any shape.
        average: The moving average of its gradient.
        threshold: At least 0.

    Returns:
        Bool, the shape of the weight.

    Example:
        >>> flips("peekaboo", tf.constant([2.0, -2.0]), tf.constant([0.5, 0.5]), 0.5).numpy().tolist()
        [True, False]
        >>> flips("paper", tf.constant([2.0, -2.0]), tf.constant([0.5, 0.5]), 0.5).numpy().tolist()
        [False, False]

    Reference:
        Peek-a-Boo: `Bop.step` of the original. Paper: Helwegen et al., "Latent Weights Do Not Exist: Rethinking
        Binarized Neural Network Optimization", NeurIPS 2019, Algorithm 1. larq: `lq.optimizers.Bop`.
    """
    if variant == "larq":
        return weight * average > threshold
    # Where signs are equal this is |average|, elsewhere it is not positive.
    agreeing = tf.sign(weight) * average
    if variant == "paper":
        return agreeing > threshold
    if weight.dtype.as_numpy_dtype(threshold) > 0:
        return agreeing >= threshold
    return tf.sign(weight) == tf.sign(average)
