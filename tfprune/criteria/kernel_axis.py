"""The axes of kernels along which prunable units stand."""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

import keras
import numpy as np

from tfprune.graph import PINNED, ChannelGroups

_NO_KERNELS = {"bias", "beta", "gamma", "scale", "alpha", "moving_mean", "moving_variance"}


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
