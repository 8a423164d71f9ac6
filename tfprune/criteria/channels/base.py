"""From scores at single weights to scores of units, and of units of different groups to ones that compare."""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal, get_args

import keras
import numpy as np

from tfprune.errors import ConfigError
from tfprune.graph import PINNED, ChannelGroups

Reduce = Literal["sum", "mean", "max"]
Normalize = Literal["mean", "max", "none"]
_NO_KERNELS = {"bias", "beta", "gamma", "scale", "alpha", "moving_mean", "moving_variance"}
"""How a unit's values at all the places where it stands become one."""
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


@dataclass(frozen=True, eq=False)
class KernelAxis:
    """One axis of one kernel.

    Attributes:
        layer: Name of its layer.
        variable: The kernel.
        axis: The axis, negative.
        channels: Unit at each position of the axis `[axis length]`, or `PINNED`.
    """

    layer: str
    variable: keras.Variable
    axis: int
    channels: np.ndarray

    def rows(self, array: np.ndarray) -> np.ndarray:
        """An array of the kernel's shape as one row per position of the axis, float64 `[positions, rest]`."""
        return np.moveaxis(np.asarray(array, np.float64), self.axis, 0).reshape(len(self.channels), -1)

    @property
    def units(self) -> np.ndarray:
        """The units that stand here, ascending."""
        return np.unique(self.channels[self.channels != PINNED])

    def by_unit(self, values: np.ndarray) -> np.ndarray:
        """Sums of the values at the positions of the same unit, from `[axis length]` to `[units]`."""
        return sum_by_unit(self.channels, values)[1]


def sum_by_unit(channels: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct units among `channels`, ascending, and the sum of the values of each; `PINNED` is left out."""
    prunable = channels != PINNED
    units, where = np.unique(channels[prunable], return_inverse=True)
    return units, np.bincount(where, weights=values[prunable], minlength=len(units))


def kernel_axes(groups: ChannelGroups, roles: Iterable[str]) -> list[KernelAxis]:
    """The axes of kernels where prunable units stand; offsets and weights with one value per unit are no kernels.

    Args:
        groups: The channel groups of a model.
        roles: Which kinds of axes: `out` for those that make units, `in` for those that read them, `pass` for those of
            depthwise kernels.

    Returns:
        The axes in the order of the layers.
    """
    wanted = set(roles)
    return [
        KernelAxis(path, attrgetter(slot.weight)(groups.layers[path]), slot.axis, slot.channels)
        for path, slots in groups.slots.items()
        for slot in slots
        if slot.role in wanted and slot.weight.rpartition(".")[2] not in _NO_KERNELS and np.any(slot.channels != PINNED)
    ]
