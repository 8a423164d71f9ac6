"""Distances between filters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from tfprune.criteria.aggregation import Normalize, check_choice, combine, normalized, some_judged
from tfprune.criteria.criterion_data import DataUse
from tfprune.criteria.kernel_axis import KernelAxis, kernel_axes
from tfprune.criteria.registry import register
from tfprune.graph import ChannelGroups


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
