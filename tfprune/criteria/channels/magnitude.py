"""Criteria by the weights alone: norms of kernel slices, scales of batch norms, distances of filters; random scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from tfprune.criteria.channels.criterion import (
    KernelAxis,
    Normalize,
    Reduce,
    combine,
    kernel_axes,
    normalized,
    require_scores,
    sum_by_channel,
)
from tfprune.criteria.registry import DataUse, register_criterion
from tfprune.errors import ConfigError, check_choice
from tfprune.graph import ChannelGroups
from tfprune.reprs import short

_ROLES = ("out", "in", "pass")


@dataclass(frozen=True)
class KernelNorm:
    """Base class of `L1` and `L2`.

    Attributes:
        roles: The kernel axes that count: `out` for the kernels that produce a channel, `in` for those that read it,
            `pass` for depthwise ones in between.
        reduce: How the norms of a channel's slices of several kernels become one: `sum`, `mean` or `max`.
        normalize: Divide by the `mean` or `max` of the group, so that groups can be ranked together; or `none`.
    """

    name: ClassVar[str]
    uses_data: ClassVar[DataUse] = "never"
    power: ClassVar[int]
    roles: tuple[str, ...] = ("out", "in")
    reduce: Reduce = "mean"
    normalize: Normalize = "mean"

    def __post_init__(self) -> None:
        several = isinstance(self.roles, list | tuple) and all(isinstance(each, str) for each in self.roles)
        if not several or not self.roles or set(self.roles) - set(_ROLES):
            raise ConfigError(f"roles: expected a tuple of some of {', '.join(_ROLES)}, received {short(self.roles)}")
        check_choice("reduce", self.reduce, Reduce)
        check_choice("normalize", self.normalize, Normalize)

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Returns the norms `[channels]`; NaN for channels without a kernel of these roles."""
        scores = combine(self._norms(groups), groups.channels, self.reduce)
        message = f"criterion {self.name}: no kernel with roles={self.roles} has prunable channels; give others"
        return normalized(require_scores(scores, message), groups, self.normalize)

    def _norms(self, groups: ChannelGroups) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for axis in kernel_axes(groups, self.roles):
            powers = np.sum(np.abs(axis.rows(axis.variable)) ** self.power, axis=1)
            yield axis.distinct, axis.by_channel(powers) ** (1 / self.power)


@register_criterion("l1")
@dataclass(frozen=True)
class L1(KernelNorm):
    """L1 norm of the kernel slices that produce and read a channel.

    Attributes:
        roles: See `KernelNorm`; `("out",)` is the criterion of Li et al.
        reduce: See `KernelNorm`.
        normalize: See `KernelNorm`.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tfprune.graph import channel_groups
        >>> inputs = keras.Input((2,))
        >>> x = keras.layers.Dense(2)(inputs)
        >>> model = keras.Model(inputs, keras.layers.Dense(1)(x))
        >>> model.set_weights([np.array([[1, 3], [1, 1]]), np.zeros(2), np.array([[2], [-4]]), np.zeros(1)])
        >>> L1(reduce="sum", normalize="none").scores(model, channel_groups(model)).tolist()
        [4.0, 8.0]

    Reference:
        Li et al., Pruning Filters for Efficient ConvNets (ICLR 2017); over groups: Fang et al., DepGraph (CVPR 2023).
    """

    name: ClassVar[str] = "l1"
    power: ClassVar[int] = 1


@register_criterion("l2")
@dataclass(frozen=True)
class L2(KernelNorm):
    """L2 norm of the kernel slices that produce and read a channel.

    Attributes:
        roles: See `KernelNorm`.
        reduce: See `KernelNorm`.
        normalize: See `KernelNorm`.

    Reference:
        Fang et al., DepGraph: Towards Any Structural Pruning (CVPR 2023), magnitude of groups.
    """

    name: ClassVar[str] = "l2"
    power: ClassVar[int] = 2


@register_criterion("bn_scale")
@dataclass(frozen=True)
class BNScale:
    """Absolute scale, gamma, of a channel's batch norm.

    Attributes:
        reduce: How the scales of a channel with several batch norms become one: `sum`, `mean` or `max`.
        normalize: Divide by the `mean` or `max` of the group; `none` ranks the scales unchanged, as in the paper.

    Reference:
        Liu et al., Learning Efficient Convolutional Networks through Network Slimming (ICCV 2017).
    """

    name: ClassVar[str] = "bn_scale"
    uses_data: ClassVar[DataUse] = "never"
    reduce: Reduce = "mean"
    normalize: Normalize = "none"

    def __post_init__(self) -> None:
        check_choice("reduce", self.reduce, Reduce)
        check_choice("normalize", self.normalize, Normalize)

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Returns the scales `[channels]`; NaN for channels that no batch norm scales.

        Raises:
            ConfigError: No batch norm scales a prunable channel.
        """
        scores = combine(_scales(groups), groups.channels, self.reduce)
        message = "criterion bn_scale: no prunable channel has a batch norm with scale=True; use l2 or taylor"
        return normalized(require_scores(scores, message), groups, self.normalize)


def _scales(groups: ChannelGroups) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for path, slots in groups.slots.items():
        layer: Any = groups.layers[path]
        if not isinstance(layer, keras.layers.BatchNormalization):
            continue
        for slot in slots:
            if slot.weight == "gamma":
                channels, sums = sum_by_channel(slot.channels, np.abs(np.asarray(layer.gamma, np.float64)))
                # A channel at several positions has several scales: their mean.
                yield channels, sums / sum_by_channel(slot.channels, np.ones(len(slot.channels)))[1]


@register_criterion("fpgm")
@dataclass(frozen=True)
class FPGM:
    """Distance of a channel's filter from the other filters of its layer.

    Filters near the geometric median are removed first. A channel that several layers produce has the mean of their
    scores, each divided by its mean over the layer. A channel with several filters in one layer has their mean.

    Attributes:
        normalize: Divide by the `mean` or `max` of the group, so that groups can be ranked together; or `none`.

    Reference:
        He et al., Filter Pruning via Geometric Median (CVPR 2019), equations 5 to 7.
    """

    name: ClassVar[str] = "fpgm"
    uses_data: ClassVar[DataUse] = "never"
    normalize: Normalize = "mean"

    def __post_init__(self) -> None:
        check_choice("normalize", self.normalize, Normalize)

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Returns the distances `[channels]`; NaN for channels that no kernel produces."""
        scores = combine(_distances(groups), groups.channels, "mean")
        message = "criterion fpgm: no kernel produces a prunable channel; use random"
        return normalized(require_scores(scores, message), groups, self.normalize)


def _distances(groups: ChannelGroups) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for axis in kernel_axes(groups, ("out",)):
        sums = _summed_distances(axis)
        mean = sums.mean()
        times = axis.by_channel(np.ones(len(sums)))
        yield axis.distinct, axis.by_channel(sums) / times / (mean if mean > 0 else 1.0)


def _summed_distances(axis: KernelAxis) -> np.ndarray:
    """Sums the Euclidean distances to all other rows, for each position of an axis."""
    rows = axis.rows(axis.variable)
    rows = rows - rows.mean(axis=0)  # distances stay the same, and rounding errors below are smaller
    squares = np.square(rows).sum(axis=1)
    between = squares[:, None] + squares - 2 * rows @ rows.T
    np.fill_diagonal(between, 0)
    return np.sqrt(np.maximum(between, 0)).sum(axis=1)


@register_criterion("random")
@dataclass(frozen=True)
class Random:
    """Random scores, the baseline of every other criterion.

    Attributes:
        seed: The same seed gives the same scores.
    """

    name: ClassVar[str] = "random"
    uses_data: ClassVar[DataUse] = "never"
    seed: int = 0

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Returns uniform random numbers between 0 and 1, `[channels]`."""
        return np.random.default_rng(self.seed).random(groups.channels)
