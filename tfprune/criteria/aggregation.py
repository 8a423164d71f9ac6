"""From scores at single weights to scores of units, and of units of different groups to ones that compare."""

from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np

from tfprune.errors import ConfigError
from tfprune.graph import ChannelGroups

Reduce = Literal["sum", "mean", "max"]
"""How a unit's values at all the places where it stands become one."""

Normalize = Literal["mean", "max", "none"]
"""Whether scores are divided by the mean, or the greatest, score of their group."""


def check_choice(name: str, value: object, choices: object) -> None:
    """`ConfigError` unless `value` is one of the choices of a `Literal`."""
    if value not in get_args(choices):
        raise ConfigError(f"{name}: expected {', '.join(get_args(choices))}, received {value!r}")


def combine(parts: Iterable[tuple[np.ndarray, np.ndarray]], channels: int, reduce: Reduce) -> np.ndarray:
    """Brings together what is known of each unit.

    Args:
        parts: Distinct units, and a value for each.
        channels: Number of units.
        reduce: How several values of a unit become one.

    Returns:
        Float64 `[channels]`, NaN for units of which nothing is known.

    Raises:
        ConfigError: A value is infinite or NaN.
    """
    total = np.full(channels, -np.inf if reduce == "max" else 0.0)
    seen = np.zeros(channels, int)
    for units, values in parts:
        total[units] = np.maximum(total[units], values) if reduce == "max" else total[units] + values
        seen[units] += 1
    total[seen == 0] = np.nan
    if not np.isfinite(total[seen > 0]).all():
        raise ConfigError("expected finite weights and losses, received infinite or NaN ones; mend the model or data")
    return total / np.maximum(seen, 1) if reduce == "mean" else total


def normalized(scores: np.ndarray, groups: ChannelGroups, how: Normalize) -> np.ndarray:
    """Scores that can be compared between groups.

    Args:
        scores: `[channels]`, NaN where unknown.
        groups: The channel groups.
        how: See `Normalize`. Groups whose mean or maximum is 0 stay as they are.

    Returns:
        The new scores `[channels]`.

    Reference:
        Fang et al., DepGraph (CVPR 2023), importance of groups.
    """
    result = scores.copy()
    if how == "none":
        return result
    for group in groups:
        part = result[group.channels]
        known = part[~np.isnan(part)]
        scale = (known.mean() if how == "mean" else known.max()) if known.size else 0.0
        if scale > 0:
            part /= scale
    return result


def some_judged(scores: np.ndarray, complaint: str) -> np.ndarray:
    """The scores; `ConfigError` with the complaint if there are units and none has a score."""
    if scores.size and np.isnan(scores).all():
        raise ConfigError(complaint)
    return scores
