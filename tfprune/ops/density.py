"""What a fraction means: the one place that turns a density or a budget into a whole number.

A density says how many weights are kept (`kept_count`), a budget how much may be kept (`at_most`). They agree wherever
the fraction of the whole is a whole number.
"""

import math
from typing import overload

import tensorflow as tf

# Above the error of a density such as 1 - 0.7, which is 0.30000000000000004, and below what six digits can say.
_NOISE = 2.0**-51


@overload
def kept_count(size: int, density: float) -> int: ...
@overload
def kept_count(size: int, density: tf.Tensor) -> tf.Tensor: ...
def kept_count(size, density):  # type: ignore[no-untyped-def]
    """Returns how many of some weights a density keeps.

    The fraction that is removed is rounded down: `size - floor((1 - density) * size)`, which is `density * size`
    rounded up, at least one. The density counts as the decimal number that it was written as: 0.9 of 100 are 90,
    although 1 - 0.9 in floating point is a little less than 0.1; so are 1 - 0.1 of 100.

    Criteria for weights and sub-network layers all count by this rule. The settings `original_...` and the recipes that
    reproduce a paper's numbers count as the authors' code does instead, and say so.

    Args:
        size: How many there are, fewer than 2^31.
        density: The fraction to keep, above 0 and at most 1; or a scalar float64 tensor, for use in traced functions.

    Returns:
        The number to keep, from 1 to `size`; an int32 tensor if the density is a tensor.

    Example:
        >>> kept_count(100, 0.9), kept_count(10, 0.25), kept_count(9, 0.01)
        (90, 3, 1)
    """
    if isinstance(density, tf.Tensor):
        return tf.maximum(tf.cast(tf.math.ceil((density - _NOISE) * tf.cast(size, tf.float64)), tf.int32), 1)
    return max(math.ceil((float(density) - _NOISE) * size), 1)


def at_most(whole: int, fraction: float) -> int:
    """Returns how much of a number a budget allows: the fraction of it, rounded down.

    The fraction counts as the decimal number that it was written as, as in `kept_count`: 0.29 of 100 are 29, although
    0.29 * 100 in floating point is a little less.

    Args:
        whole: The number, such as the channels, parameters or FLOPs of a model.
        fraction: The fraction, from 0 to 1.

    Example:
        >>> at_most(100, 0.29), at_most(100, 1 - 0.9), at_most(10, 0.25)
        (29, 10, 2)
    """
    return math.floor((float(fraction) + _NOISE) * whole)


def original_kept_count(size: int, density: float) -> int:
    """Returns how many weights the authors of SynFlow, Peek-a-Boo and multi-prize tickets keep at a density.

    It is the same rule in plain double precision, where 0.9 of 100 are 91.

    Args:
        size: How many there are.
        density: The fraction to keep.

    Reference:
        Tanaka et al., SynFlow (NeurIPS 2020); Chen et al., Peek-a-Boo (ICLR 2022), `prune_loop`; Diffenderfer &
        Kailkhura (ICLR 2021), `GetQuantnet_binary`.
    """
    return size - int((1.0 - density) * size)
