"""Norms of the kernels' slices that belong to a unit."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from tfprune.criteria.aggregation import Normalize, Reduce, check_choice, combine, normalized, some_judged
from tfprune.criteria.criterion_data import DataUse
from tfprune.criteria.kernel_axis import kernel_axes
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
