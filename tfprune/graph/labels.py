"""Where the prunable channels of a model stand in one layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call

PINNED = -1
Vector = np.ndarray | None
Axes = tuple[Vector, ...]
Change = Callable[[Any, list[np.ndarray]], Any]
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


"""Labels along an axis, `[size]`, or None if nothing along it can be removed."""
"""One vector for each axis of a tensor after the batch axis."""
"""From the old value of a setting, and which positions stay along some axes (bool arrays), to the new value."""


def kept_count(old: Any, kept: list[np.ndarray]) -> int:
    """The usual change of a setting: how many positions stay."""
    return int(kept[0].sum())


@dataclass(frozen=True)
class EditRecord:
    """A setting of a layer, or an argument of its call, that depends on how many channels stay."""

    key: str
    vectors: tuple[Vector, ...]
    change: Change
    argument: bool = False


@dataclass(frozen=True)
class CostRecord:
    """Multiply-accumulates: a constant times how many positions stay along each of some axes."""

    constant: int
    vectors: tuple[np.ndarray, ...]
    normalization: bool = False


@dataclass
class LayerRecord:
    """What the rules noted about one layer.

    Attributes:
        layer: The layer.
        slots: `(weight, axis) -> (labels, role)`, for the weight axes that run over channels.
        edits: Settings to change when the layer shrinks.
        costs: Its multiply-accumulates.
        scales: Weights to multiply by the root of the fraction that stays along an axis, as `(weight, labels)`.
    """

    layer: keras.Operation
    slots: dict[tuple[str, int], tuple[np.ndarray, str]] = field(default_factory=dict)
    edits: dict[str, EditRecord] = field(default_factory=dict)
    costs: list[CostRecord] = field(default_factory=list)
    scales: list[tuple[str, np.ndarray]] = field(default_factory=list)


class Labels:
    """The labels of all tensors, and the records of all layers. Rules read and write these.

    Attributes:
        born: The labels that each layer gave out, by the layer's name.
        widths: How many positions of an activation each of them stands for.
        records: What was noted about each layer, by its name.
        unknown: Layers whose channels are left alone, with the reason.
    """

    def __init__(self) -> None:
        self.born: dict[str, np.ndarray] = {}
        self.widths: dict[str, int] = {}
        self.records: dict[str, LayerRecord] = {}
        self.unknown: dict[str, str] = {}
        self._parent: list[int] = []
        self._pinned: set[int] = set()
        self._axes: dict[int, Axes] = {}

    @property
    def count(self) -> int:
        """Labels given out so far."""
        return len(self._parent)

    def fresh(self, count: int) -> np.ndarray:
        """Gives out `count` new labels."""
        new = np.arange(self.count, self.count + count)
        self._parent.extend(new.tolist())
        return new

    def find(self, label: int) -> int:
        """The label that stands for all labels united with this one."""
        while self._parent[label] != label:
            self._parent[label] = self._parent[self._parent[label]]
            label = self._parent[label]
        return label

    def roots(self, labels: np.ndarray) -> np.ndarray:
        """`find` for each label of an array."""
        return np.array([self.find(label) for label in labels.ravel().tolist()], dtype=int).reshape(labels.shape)

    def unite(self, first: np.ndarray, second: np.ndarray) -> None:
        """Unites two arrays of labels of one shape position by position; the older label stands for both."""
        if first is second:
            return
        for a, b in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
            low, high = sorted((self.find(a), self.find(b)))
            if low == high:
                continue
            self._parent[high] = low
            if high in self._pinned:
                self._pinned.add(low)

    def tie(self, labels: np.ndarray, parts: int) -> np.ndarray:
        """Unites the equal parts of a vector with one another, and returns the first part."""
        rows = labels.reshape(parts, -1)
        for row in rows[1:]:
            self.unite(rows[0], row)
        return rows[0]

    def pin(self, *vectors: Vector) -> None:
        """Marks channels as not prunable."""
        for vector in vectors:
            if vector is not None:
                self._pinned.update(self.roots(vector).ravel().tolist())

    def is_pinned(self, label: int) -> bool:
        """Whether a channel is marked as not prunable."""
        return self.find(label) in self._pinned

    def of(self, tensor: keras.KerasTensor) -> Axes:
        """Labels of a tensor."""
        return self._axes[id(tensor)]

    def put(self, tensor: keras.KerasTensor, axes: Sequence[Vector]) -> None:
        """Sets the labels of a tensor.

        Args:
            tensor: A symbolic tensor of rank `n + 1`.
            axes: `n` vectors.
        """
        sizes = tensor.shape[1:]
        wrong = len(axes) != len(sizes) or any(
            vector is not None and len(vector) != size for vector, size in zip(axes, sizes, strict=True)
        )
        if wrong:
            found = tuple(None if vector is None else len(vector) for vector in axes)
            raise AssertionError(f"labels {found} do not fit a tensor of shape {tensor.shape}")
        self._axes[id(tensor)] = tuple(axes)

    def record(self, call: Call) -> LayerRecord:
        """The record of a call's layer."""
        return self.records.setdefault(call.name, LayerRecord(_holder(call)))

    def slot(self, call: Call, weight: str, axis: int, labels: Vector, role: str) -> None:
        """Notes that an axis of a weight runs over channels; in a layer called again the labels are united.

        Args:
            call: The call.
            weight: Where the layer keeps the weight: an attribute, perhaps of an attribute (`cell.kernel`); a weight
                that the layer lacks is passed over.
            axis: The axis, counted from the end.
            labels: The labels along it; None if all of it stays.
            role: `in` for an axis that reads channels, `out` for one that makes them, `pass` for one that goes along.
        """
        weight = _within(call, weight)
        variable = attrgetter(weight)(_holder(call))
        if variable is None:
            return
        if labels is None:
            labels = self.fresh(variable.shape[axis])
            self.pin(labels)
        slots = self.record(call).slots
        if (weight, axis) in slots:
            self.unite(slots[weight, axis][0], labels)
        else:
            slots[weight, axis] = (labels, role)

    def make(self, call: Call, count: int, part: str = "", width: int = 1) -> np.ndarray:
        """Gives out the labels of a layer that computes new channels; a layer called again gets those it had.

        Args:
            call: The call.
            count: How many channels it makes.
            part: Which of several kinds of channels of the layer.
            width: How many positions of an activation each of them stands for, such as the channels of a head.
        """
        name = f"{call.name}.{part}" if part else call.name
        if name not in self.born:
            self.born[name] = self.fresh(count)
            self.widths[name] = width
        return self.born[name]

    def edit(self, call: Call, key: str, *vectors: Vector, change: Change = kept_count, argument: bool = False) -> None:
        """Notes that a setting of the layer depends on what stays along some axes.

        Args:
            call: The call.
            key: Key in the layer's configuration.
            vectors: The labels along these axes; where none of them has labels the setting stays.
            change: See `Change`. Default: the setting is the number of positions that stay.
            argument: The key names an argument of the call instead.
        """
        edits = self.record(call).edits
        key = _within(call, key)
        if key in edits:
            self._keep_alike(edits[key].vectors, vectors)
        else:
            edits[key] = EditRecord(key, vectors, change, argument)

    def _keep_alike(self, first: Sequence[Vector], second: Sequence[Vector]) -> None:
        """Lets the same positions stay in two calls of one layer, as there is one setting for both."""
        if len(first) != len(second):
            self.pin(*first, *second)
            return
        for one, other in zip(first, second, strict=True):
            if one is None or other is None or len(one) != len(other):
                self.pin(one, other)
            else:
                self.unite(one, other)

    def cost(self, call: Call, constant: int, *vectors: Vector, normalization: bool = False) -> None:
        """Notes multiply-accumulates for one example: a constant times the positions that stay along some axes."""
        labelled = tuple(vector for vector in vectors if vector is not None)
        times = 1 if call.wrapper is None else call.wrapper.times
        self.record(call).costs.append(CostRecord(int(constant) * times, labelled, normalization))

    def scale(self, call: Call, weight: str, labels: Vector) -> None:
        """Notes that a weight is to be multiplied by the root of the fraction that stays along an axis."""
        scales = self.record(call).scales
        weight = _within(call, weight)
        known = any(weight == other for other, _ in scales)
        if labels is not None and not known and attrgetter(weight)(_holder(call)) is not None:
            scales.append((weight, labels))

    def leave_alone(self, call: Call, reason: str) -> None:
        """Pins everything that a call touches, and says why."""
        for tensor in call.inputs:
            self.pin(*self.of(tensor))
        for tensor in call.outputs:
            self.put(tensor, (None,) * (len(tensor.shape) - 1))
        self.record(call)
        self.unknown.setdefault(self.title(call.name), reason)

    def title(self, name: str) -> str:
        """Name and class of a layer."""
        return f"{name} ({type(self.records[name].layer).__name__})"


def _holder(call: Call) -> keras.Operation:
    """The layer that a call's model knows: the called one, or the one around it."""
    return call.layer if call.wrapper is None else call.wrapper.layer


def _within(call: Call, name: str) -> str:
    """Where the layer that the model knows keeps a weight or a setting of the called one."""
    return name if call.wrapper is None else f"{call.wrapper.path}.{name}"
