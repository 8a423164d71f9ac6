"""Where the prunable channels of a model stand in one layer."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tfprune.graph.labels import Change

PINNED = -1
"""Channel number of positions that cannot be pruned: model inputs and outputs, and what unknown layers touch."""


@dataclass(frozen=True)
class Slot:
    """One axis of one weight that runs over channels.

    Attributes:
        weight: Where the layer keeps the weight: `kernel`, or an attribute of an attribute such as `cell.kernel`.
        axis: The axis, negative.
        channels: Channel number at each position of the axis `[axis length]`, or `PINNED`.
        role: `in` for an axis that reads channels, `out` for one that makes them, `pass` for one that goes along.
    """

    weight: str
    axis: int
    channels: np.ndarray
    role: str

    def kept(self, mask: np.ndarray) -> np.ndarray:
        """Positions of the axis that stay where `mask` (bool `[channels of the model]`) keeps its channels."""
        return np.flatnonzero(staying(self.channels, mask))


@dataclass(frozen=True)
class Edit:
    """A setting of a layer, or an argument of its call, that depends on how many channels stay.

    Attributes:
        key: The setting; `layer.units` is that of a layer within.
        axes: Channel numbers along the axes that it depends on; None for an axis that stays whole.
        change: From its old value, and the positions that stay along these axes, to the new value.
        argument: It is an argument of the call.
    """

    key: str
    axes: tuple[np.ndarray | None, ...]
    change: Change
    argument: bool

    def value(self, old: Any, mask: np.ndarray) -> Any:
        """The setting where `mask` keeps its channels."""
        return self.change(old, [None if axis is None else staying(axis, mask) for axis in self.axes])  # type: ignore[misc]


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of a layer: a constant times how many positions stay along each of some axes.

    Attributes:
        constant: The constant.
        axes: Channel numbers along these axes.
        normalization: It is batch norm's share, two operations per value, not a kernel's.
    """

    constant: int
    axes: tuple[np.ndarray, ...]
    normalization: bool = False


@dataclass(frozen=True)
class LayerChannels:
    """Where the channels of a model stand in one layer.

    Attributes:
        layer: The layer, or operation.
        slots: Its weights' axes that run over channels.
        edits: Its settings that depend on how many channels stay.
        costs: Its multiply-accumulates.
        scales: Weights to multiply by the root of the fraction that stays along an axis, as `(weight, channels)`.
    """

    layer: keras.Operation
    slots: tuple[Slot, ...] = ()
    edits: tuple[Edit, ...] = ()
    costs: tuple[Cost, ...] = ()
    scales: tuple[tuple[str, np.ndarray], ...] = ()


def staying(channels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Which positions of an axis stay, bool `[axis length]`, where `mask` (bool `[channels]`) keeps its channels."""
    keep = channels == PINNED
    keep[~keep] = mask[channels[~keep]]
    return keep
