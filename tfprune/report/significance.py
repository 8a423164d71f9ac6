"""Whether two series of runs differ."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

Key = TypeVar("Key")


def welch_p_value(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Welch's t-test: the chance of means that lie at least this far apart, had the two the same mean.

    Args:
        first: Results, such as accuracies of runs with several seeds.
        second: Others.

    Returns:
        The two-sided p-value; None if one of them has fewer than two results. Where neither varies at all, 1 if they
        are equal and 0 if not.

    Example:
        >>> round(welch_p_value([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]), 3)
        0.021

    Reference:
        B. L. Welch, Biometrika 34 (1947).
    """
    from scipy.stats import ttest_ind

    if min(len(first), len(second)) < 2:
        return None
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        return float(first[0] == second[0])
    return float(ttest_ind(first, second, equal_var=False).pvalue)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Adjusts p-values of several tests at once, so that a level holds for all of them together.

    Args:
        p_values: By what was tested.

    Returns:
        Adjusted ones, in the same order.

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'b': 0.06, 'c': 0.06}

    Reference:
        S. Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    largest, adjusted = 0.0, {}
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[key]))
        adjusted[key] = largest
    return {key: adjusted[key] for key in p_values}
