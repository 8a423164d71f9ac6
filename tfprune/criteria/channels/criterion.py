"""What a criterion for channels is, and what the built-in ones share.

A criterion is any object with a method `scores(model, groups, data)` that returns one score per prunable channel. Most
start from scores at single positions of kernels: `kernel_axes` finds the axes of kernels where channels lie, `combine`
turns values of single positions into one score per channel, and `normalized` makes scores of different groups
comparable.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import keras
import numpy as np

from tfprune.criteria.registry import DataUse, criterion_names, given_criterion, register_criterion
from tfprune.errors import ConfigError
from tfprune.graph import PINNED, ChannelGroups
from tfprune.graph.labels import weight_at
from tfprune.reprs import short_repr

Reduce = Literal["sum", "mean", "max"]
"""How a channel's values at all its positions become one."""

Normalize = Literal["mean", "max", "standard", "none"]
"""Whether scores are divided by the mean or the maximum of their group, or standardized to mean 0 and deviation 1."""

_VECTORS = {"bias", "beta", "gamma", "scale", "alpha", "moving_mean", "moving_variance"}
_AnyClass = TypeVar("_AnyClass", bound=type)


@runtime_checkable
class Criterion(Protocol):
    """Scores the prunable channels of a model.

    Attributes:
        name: Its name in the registry.
        uses_data: Whether it uses data, see `DataUse`.
    """

    name: str
    uses_data: DataUse

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Scores each prunable channel.

        Args:
            model: A functional or sequential model. It is not changed.
            groups: Its channel groups.
            data: Batches `(x, y)` or arrays, see `CriterionData`.

        Returns:
            Float64 `[channels]`, higher is kept; NaN for channels that the criterion cannot score.
        """
        ...


def register(name: str) -> Callable[[_AnyClass], _AnyClass]:
    """Registers a class of criteria under a name, see `register_criterion`."""
    return register_criterion(name)


def get(given: Any) -> Criterion:
    """Returns the criterion for channels that a name, an object or a class stands for.

    Args:
        given: A name of `names()`, a criterion, or a class of criteria.

    Returns:
        A criterion; one with its default settings for a name or a class.

    Raises:
        ConfigError: There is no such criterion.

    Example:
        >>> get("random").name
        'random'
    """
    found: Criterion = given_criterion(given, "channels")
    return found


def names() -> tuple[str, ...]:
    """Returns the names of all criteria for channels, in alphabetical order."""
    return criterion_names("channels")


def combine(parts: Iterable[tuple[np.ndarray, np.ndarray]], channels: int, reduce: Reduce) -> np.ndarray:
    """Combines the values of each channel into one score.

    Args:
        parts: Distinct channels, and a value for each.
        channels: Number of channels.
        reduce: How several values of a channel become one.

    Returns:
        Float64 `[channels]`, NaN for channels without a value.

    Raises:
        ConfigError: A value is infinite or NaN.
    """
    total = np.full(channels, -np.inf if reduce == "max" else 0.0)
    seen = np.zeros(channels, int)
    for indices, values in parts:
        total[indices] = np.maximum(total[indices], values) if reduce == "max" else total[indices] + values
        seen[indices] += 1
    total[seen == 0] = np.nan
    if not np.isfinite(total[seen > 0]).all():
        raise ConfigError("expected finite weights and losses, received infinite or NaN ones; fix the model or data")
    return total / np.maximum(seen, 1) if reduce == "mean" else total


def normalized(scores: np.ndarray, groups: ChannelGroups, how: Normalize) -> np.ndarray:
    """Returns scores that can be compared between groups.

    Args:
        scores: `[channels]`, NaN where unknown.
        groups: The channel groups.
        how: See `Normalize`. Groups whose mean, maximum or deviation is 0 are not divided.

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
        if not known.size:
            continue
        if how == "standard":
            part -= known.mean()
        scale = known.max() if how == "max" else known.mean() if how == "mean" else known.std()
        if scale > 0:
            part /= scale
    return result


def require_scores(scores: np.ndarray, message: str) -> np.ndarray:
    """Returns the scores; raises `ConfigError` with the message if there are channels and none has a score."""
    if scores.size and np.isnan(scores).all():
        raise ConfigError(message)
    return scores


@dataclass(frozen=True, eq=False)
class KernelAxis:
    """One axis of one kernel.

    Attributes:
        layer: Name of its layer.
        variable: The kernel.
        axis: The axis, negative.
        channels: Channel at each position of the axis `[axis length]`, or `PINNED`.
    """

    layer: str
    variable: keras.Variable
    axis: int
    channels: np.ndarray

    __repr__ = short_repr

    @property
    def distinct(self) -> np.ndarray:
        """The channels along this axis, each once, ascending."""
        return np.unique(self.channels[self.channels != PINNED])

    def rows(self, array: np.ndarray) -> np.ndarray:
        """Reshapes an array of the kernel's shape to one row per position of the axis, float64 `[positions, rest]`."""
        return np.moveaxis(np.asarray(array, np.float64), self.axis, 0).reshape(len(self.channels), -1)

    def by_channel(self, values: np.ndarray) -> np.ndarray:
        """Sums the values `[axis length]` at the positions of each channel, in the order of `distinct`."""
        return sum_by_channel(self.channels, values)[1]


def sum_by_channel(channels: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct channels, ascending, and the sum of the values of each; `PINNED` positions are left out."""
    prunable = channels != PINNED
    distinct, where = np.unique(channels[prunable], return_inverse=True)
    return distinct, np.bincount(where, weights=values[prunable], minlength=len(distinct))


def kernel_axes(groups: ChannelGroups, roles: Iterable[str]) -> list[KernelAxis]:
    """Finds the axes of kernels along which prunable channels lie; weights with one value per channel are no kernels.

    Args:
        groups: The channel groups of a model.
        roles: Which kinds of axes: `out` for those that produce channels, `in` for those that read them, `pass` for
            those of depthwise kernels.

    Returns:
        The axes in the order of the layers.
    """
    wanted = set(roles)
    return [
        KernelAxis(path, weight_at(groups.layers[path], slot.weight), slot.axis, slot.channels)
        for path, slots in groups.slots.items()
        for slot in slots
        if slot.role in wanted and slot.weight.rpartition(".")[2] not in _VECTORS and np.any(slot.channels != PINNED)
    ]
