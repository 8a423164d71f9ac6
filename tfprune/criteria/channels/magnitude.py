"""Norms of the kernels' slices that belong to a unit."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from tfprune.criteria.base import DataUse
from tfprune.criteria.channels.base import (
    KernelAxis,
    Normalize,
    Reduce,
    check_choice,
    combine,
    kernel_axes,
    normalized,
    some_judged,
    sum_by_unit,
)
from tfprune.criteria.registry import register
from tfprune.errors import ConfigError
from tfprune.graph import ChannelGroups

_ROLES = ("out", "in", "pass")


@dataclass(frozen=True)
class Magnitude:
    """What `L1` and `L2` have in common.

    Attributes:
        roles: The kernel axes that count: `out` for the kernels that make a unit, `in` for those that read it, `pass`
            for depthwise ones in between.
        reduce: How the norms of a unit's slices of several kernels become one: `sum`, `mean` or `max`.
        normalize: Divide by the `mean` or `max` of the group, so that groups can be ranked together; or `none`.
    """

    name: ClassVar[str]
    uses_data: ClassVar[DataUse] = "never"
    power: ClassVar[int]
    roles: tuple[str, ...] = ("out", "in")
    reduce: Reduce = "mean"
    normalize: Normalize = "mean"

    def __post_init__(self) -> None:
        if isinstance(self.roles, str) or not self.roles or set(self.roles) - set(_ROLES):
            raise ConfigError(f"roles: expected a tuple of some of {', '.join(_ROLES)}, received {self.roles!r}")
        check_choice("reduce", self.reduce, Reduce)
        check_choice("normalize", self.normalize, Normalize)

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Norms `[channels]`; NaN for units without a kernel of the roles asked for."""
        scores = combine(self._norms(groups), groups.channels, self.reduce)
        complaint = f"criterion {self.name}: no prunable unit stands in a kernel with roles={self.roles}; give others"
        return normalized(some_judged(scores, complaint), groups, self.normalize)

    def _norms(self, groups: ChannelGroups) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for axis in kernel_axes(groups, self.roles):
            powers = np.sum(np.abs(axis.rows(axis.variable)) ** self.power, axis=1)
            yield axis.units, axis.by_unit(powers) ** (1 / self.power)


@register("l1")
@dataclass(frozen=True)
class L1(Magnitude):
    """The L1 norm of the kernel slices of a unit, combined over the kernels that make and read it.

    Attributes:
        roles: See `Magnitude`; `("out",)` is the criterion of Li et al.
        reduce: See `Magnitude`.
        normalize: See `Magnitude`.

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


@register("l2")
@dataclass(frozen=True)
class L2(Magnitude):
    """The L2 norm of the kernel slices of a unit, combined over the kernels that make and read it.

    Attributes:
        roles: See `Magnitude`.
        reduce: See `Magnitude`.
        normalize: See `Magnitude`.

    Reference:
        Fang et al., DepGraph: Towards Any Structural Pruning (CVPR 2023), magnitude of groups.
    """

    name: ClassVar[str] = "l2"
    power: ClassVar[int] = 2


@register("bn_scale")
@dataclass(frozen=True)
class BNScale:
    """The absolute scale `gamma` with which batch norm multiplies a unit.

    Attributes:
        reduce: How the scales of a unit with several batch norms become one: `sum`, `mean` or `max`.
        normalize: Divide by the `mean` or `max` of the group; `none` ranks the scales as they are, as in the paper.

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
        """Scales `[channels]`; NaN for units that no batch norm scales.

        Raises:
            ConfigError: No batch norm scales a prunable unit.
        """
        scores = combine(_scales(groups), groups.channels, self.reduce)
        complaint = "criterion bn_scale: no prunable unit has a batch norm with scale=True; use l2 or taylor"
        return normalized(some_judged(scores, complaint), groups, self.normalize)


def _scales(groups: ChannelGroups) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for path, slots in groups.slots.items():
        layer: Any = groups.layers[path]
        if not isinstance(layer, keras.layers.BatchNormalization):
            continue
        for slot in slots:
            if slot.weight == "gamma":
                units, sums = sum_by_unit(slot.channels, np.abs(np.asarray(layer.gamma, np.float64)))
                # A unit that stands at several positions has several scales: their mean.
                yield units, sums / sum_by_unit(slot.channels, np.ones(len(slot.channels)))[1]


@register("fpgm")
@dataclass(frozen=True)
class FPGM:
    """How far a unit's filter lies from the other filters of its layer: those near the geometric median go first.

    A unit that several layers make has the mean of what they say, each divided by its mean over the layer. A unit that
    one layer makes several times has the mean of its filters.

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
        """Distances `[channels]`; NaN for units that no kernel makes."""
        scores = combine(_distances(groups), groups.channels, "mean")
        complaint = "criterion fpgm: no kernel makes a prunable unit; use random"
        return normalized(some_judged(scores, complaint), groups, self.normalize)


def _distances(groups: ChannelGroups) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for axis in kernel_axes(groups, ("out",)):
        sums = _summed_distances(axis)
        mean = sums.mean()
        times = axis.by_unit(np.ones(len(sums)))
        yield axis.units, axis.by_unit(sums) / times / (mean if mean > 0 else 1.0)


def _summed_distances(axis: KernelAxis) -> np.ndarray:
    """Sum of Euclidean distances to all other rows, for each position of an axis."""
    rows = axis.rows(axis.variable)
    rows = rows - rows.mean(axis=0)  # distances stay the same, and what is rounded off below is less
    squares = np.square(rows).sum(axis=1)
    between = squares[:, None] + squares - 2 * rows @ rows.T
    np.fill_diagonal(between, 0)
    return np.sqrt(np.maximum(between, 0)).sum(axis=1)


@register("random")
@dataclass(frozen=True)
class Random:
    """Random scores: what every other criterion has to beat.

    Attributes:
        seed: The same seed gives the same scores.
    """

    name: ClassVar[str] = "random"
    uses_data: ClassVar[DataUse] = "never"
    seed: int = 0

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Evenly distributed between 0 and 1, `[channels]`."""
        return np.random.default_rng(self.seed).random(groups.channels)
