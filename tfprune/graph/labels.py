"""Labels of channels, and what a rule notes about one layer.

While a model is read (`graph.channel_groups`), every position along an axis of a tensor has a label. `Labels` gives
out labels, unites and pins them, and keeps a `LayerRecord` for each layer: which weight axes run over which labels,
which settings depend on them, and what the layer costs. At the end, labels are replaced by channel numbers, and each
record becomes a `LayerChannels`, which slimming, costs and plans read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from tfprune.errors import ConfigError
from tfprune.graph.calls import Call
from tfprune.reprs import short_repr

NO_RULE = "it has no rule for removing them"
"""The reason of a pin that gives none."""

_CALLS_DIFFER = "its calls would need different settings"

PINNED = -1
"""Channel number of positions that cannot be pruned: model inputs and outputs, and what unknown layers touch."""

Vector = np.ndarray | None
"""Labels, or channel numbers, along an axis, `[size]`; None if nothing along it can be removed."""

Axes = tuple[Vector, ...]
"""One vector for each axis of a tensor after the batch axis."""

Cause = tuple[str, str]
"""The name of the layer or operation that pins channels, empty for the model's outputs, and the reason."""

Change = Callable[[Any, list[np.ndarray]], Any]
"""Maps the old value of a setting, and bool arrays of the positions kept along some axes, to the new value."""


@dataclass(frozen=True)
class Slot:
    """One axis of one weight that runs over channels.

    Attributes:
        weight: The attribute that holds the weight: `kernel`, or a nested one such as `cell.kernel`.
        axis: The axis, negative.
        channels: Channel number at each position of the axis `[axis length]`, or `PINNED`.
        role: `in` for an axis that reads channels, `out` for one that produces them, `pass` for one that has one entry
            per channel, such as a batch norm's scale.
    """

    weight: str
    axis: int
    channels: np.ndarray
    role: str

    __repr__ = short_repr

    def kept(self, mask: np.ndarray) -> np.ndarray:
        """Returns the positions of the axis whose channels `mask` (bool `[channels of the model]`) keeps."""
        return np.flatnonzero(kept_positions(self.channels, mask))


@dataclass(frozen=True)
class Edit:
    """A setting of a layer, or an argument of its call, that depends on how many channels are kept.

    Attributes:
        key: The setting; `layer.units` is the setting `units` of a wrapped layer.
        axes: Labels, or channel numbers, along the axes that it depends on; None for an axis that is always kept.
        change: Maps the old value, and the positions kept along these axes, to the new value.
        argument: Whether the key names an argument of the call instead.
    """

    key: str
    axes: Axes
    change: Change
    argument: bool = False

    __repr__ = short_repr

    def value(self, old: Any, mask: np.ndarray) -> Any:
        """Returns the setting where `mask` keeps its channels."""
        return self.change(old, [None if axis is None else kept_positions(axis, mask) for axis in self.axes])  # type: ignore[misc]


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of a layer for one example: a constant times the number of positions kept along some axes.

    Attributes:
        constant: The constant.
        axes: Labels, or channel numbers, along these axes.
        normalization: Whether they are a batch norm's share, two operations per value, not a kernel's.
    """

    constant: int
    axes: tuple[np.ndarray, ...]
    normalization: bool = False

    __repr__ = short_repr


@dataclass(frozen=True)
class LayerChannels:
    """Where the channels of a model are in one layer.

    Attributes:
        layer: The layer, or operation.
        slots: The axes of its weights that run over channels.
        edits: Its settings that depend on how many channels are kept.
        costs: Its multiply-adds.
        scales: Weights to multiply by the root of the fraction that is kept along an axis, as `(weight, channels)`.
        untold: Its calls that rules left alone, so that their cost is not in `costs`.
    """

    layer: keras.Operation
    slots: tuple[Slot, ...] = ()
    edits: tuple[Edit, ...] = ()
    costs: tuple[Cost, ...] = ()
    scales: tuple[tuple[str, np.ndarray], ...] = ()
    untold: tuple[Call, ...] = ()

    __repr__ = short_repr


def weight_at(layer: Any, path: str) -> Any:
    """Returns a weight of a layer by its path of attributes, and of positions in lists: `cell.cells.0.kernel`."""
    for name in path.split("."):
        layer = layer[int(name)] if name.isdigit() else getattr(layer, name)
    return layer


def kept_positions(channels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns which positions of an axis a mask keeps.

    Args:
        channels: Channel numbers `[axis length]`; pinned positions are always kept.
        mask: Bool `[channels]`, True for the channels to keep.

    Returns:
        Bool `[axis length]`.
    """
    keep = channels == PINNED
    keep[~keep] = mask[channels[~keep]]
    return keep


def kept_channel_count(old: Any, kept: list[np.ndarray]) -> int:
    """Returns the number of kept positions: the usual `Change`."""
    return int(kept[0].sum())


@dataclass
class LayerRecord:
    """What the rules have noted about one layer so far, in labels.

    Attributes:
        layer: The layer.
        slots: `(weight, axis) -> (labels, role)`, for the weight axes that run over channels.
        edits: Settings that depend on how many channels are kept, by key.
        costs: Its multiply-adds.
        scales: Weights to multiply by the root of the fraction that is kept along an axis, as `(weight, labels)`.
        untold: Its calls that were left alone, which note no costs.
    """

    layer: keras.Operation
    slots: dict[tuple[str, int], tuple[np.ndarray, str]] = field(default_factory=dict)
    edits: dict[str, Edit] = field(default_factory=dict)
    costs: list[Cost] = field(default_factory=list)
    scales: list[tuple[str, np.ndarray]] = field(default_factory=list)
    untold: list[Call] = field(default_factory=list)

    __repr__ = short_repr


class Labels:
    """The labels of all tensors, and the records of all layers. Rules read and write these.

    Attributes:
        produced: The labels along what each layer produces, by the layer's name.
        makers: The layer that produces them: `layer` for `layer.part`.
        records: What was noted about each layer, by its name.
        unknown: Layers of which nothing is pruned, by name, with the reason.
        current: The call that is being read; it is the cause of what is pinned meanwhile.
        uniform: For tensors with equal values along some axes, the blocks of these (`rules.uniform`), by `id`.
        splits: Labels of axes that calls split into several ones, of which only one can lose channels, with the number
            of axes to choose from, by the name of the call.

    Args:
        choices: Which of these axes that is, counted from the last one, by the name of the call. Default: the last.
        closed: What stopped layers from being opened, by name.
    """

    def __init__(self, choices: Mapping[str, int] | None = None, closed: Mapping[str, str] | None = None) -> None:
        self.closed = closed or {}
        self.splits: dict[str, tuple[np.ndarray, int]] = {}
        self._choices = choices or {}
        self.produced: dict[str, np.ndarray] = {}
        self.makers: dict[str, str] = {}
        self.records: dict[str, LayerRecord] = {}
        self.unknown: dict[str, str] = {}
        self.current: Call | None = None
        self.uniform: dict[int, Axes] = {}
        self._parent: list[int] = []
        self._pinned: dict[int, Cause] = {}
        self._axes: dict[int, Axes] = {}

    @property
    def count(self) -> int:
        """Number of labels given out so far."""
        return len(self._parent)

    def fresh(self, count: int) -> np.ndarray:
        """Gives out `count` new labels."""
        new = np.arange(self.count, self.count + count)
        self._parent.extend(new.tolist())
        return new

    def find(self, label: int) -> int:
        """Returns the label that stands for all labels united with this one."""
        while self._parent[label] != label:
            self._parent[label] = self._parent[self._parent[label]]
            label = self._parent[label]
        return label

    def roots(self, labels: np.ndarray) -> np.ndarray:
        """Returns `find` of each label of an array."""
        return np.array([self.find(label) for label in labels.ravel().tolist()], dtype=int).reshape(labels.shape)

    def unite(self, first: np.ndarray, second: np.ndarray) -> None:
        """Unites two arrays of labels of one shape, position by position; the older label stands for both."""
        if first is second:
            return
        for a, b in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
            low, high = sorted((self.find(a), self.find(b)))
            if low == high:
                continue
            self._parent[high] = low
            if high in self._pinned:
                self._pinned.setdefault(low, self._pinned[high])

    def choose(self, labels: np.ndarray, axes: Sequence[int]) -> int:
        """Returns which of the axes into which an axis is split can lose channels."""
        name = "" if self.current is None else self.current.name
        self.splits.setdefault(name, (labels, len(axes)))
        return axes[-1 - self._choices.get(name, 0) % len(axes)]

    def tie(self, labels: np.ndarray, parts: int) -> np.ndarray:
        """Unites the equal parts of a vector with one another, and returns the first part."""
        rows = labels.reshape(parts, -1)
        for row in rows[1:]:
            self.unite(rows[0], row)
        return rows[0]

    def pin(self, *vectors: Vector, reason: str = NO_RULE) -> None:
        """Marks labels as not prunable; those that already are keep their reason.

        Args:
            *vectors: The labels; None is skipped.
            reason: Why they stay, for the user: completes "its channels stay: ...", where "it" is the layer that is
                being read, and "they" are the channels.
        """
        cause = ("" if self.current is None else self.current.name, reason)
        for root in self._roots_in(vectors):
            self._pinned.setdefault(root, cause)

    def pin_outputs(self, *vectors: Vector) -> None:
        """Marks labels of the model's outputs: they stay, whatever else would hold them."""
        self._pinned.update(dict.fromkeys(self._roots_in(vectors), ("", "they are outputs of the model")))

    def _roots_in(self, vectors: Sequence[Vector]) -> list[int]:
        return [root for vector in vectors if vector is not None for root in self.roots(vector).ravel().tolist()]

    def cause(self, label: int) -> Cause | None:
        """Returns what pins a label; None if it is prunable."""
        return self._pinned.get(self.find(label))

    def is_pinned(self, label: int) -> bool:
        """Returns whether a label is marked as not prunable."""
        return self.cause(label) is not None

    def free_count(self) -> int:
        """Returns the number of prunable channels that layers produce."""
        produced = {self.find(label) for labels in self.produced.values() for label in labels.tolist()}
        return len(produced - self._pinned.keys())

    def of(self, tensor: keras.KerasTensor) -> Axes:
        """Returns the labels of a tensor: one vector per axis after the batch axis."""
        return self._axes[id(tensor)]

    def knows(self, tensor: keras.KerasTensor) -> bool:
        """Returns whether the labels of a tensor were set."""
        return id(tensor) in self._axes

    def put(self, tensor: keras.KerasTensor, axes: Sequence[Vector]) -> None:
        """Sets the labels of a tensor.

        Args:
            tensor: A symbolic tensor of rank `n + 1`.
            axes: `n` vectors, of the sizes of the axes after the batch axis.

        Raises:
            ConfigError: Their number or a size differs: an error in a rule.
        """
        sizes = tensor.shape[1:]
        wrong = len(axes) != len(sizes) or any(
            vector is not None and len(vector) != size for vector, size in zip(axes, sizes, strict=True)
        )
        if wrong:
            found = tuple(None if vector is None else len(vector) for vector in axes)
            raise ConfigError(
                f"expected one vector of labels, or None, for each axis of a tensor of shape {tensor.shape} but the "
                f"first, received vectors of sizes {found}; correct the rule of the layer"
            )
        self._axes[id(tensor)] = tuple(axes)

    def record(self, call: Call) -> LayerRecord:
        """Returns the record of a call's layer."""
        return self.records.setdefault(call.name, LayerRecord(_holder(call)))

    def slot(self, call: Call, weight: str, axis: int, labels: Vector, role: str) -> None:
        """Notes that an axis of a weight runs over channels; if the layer was called before, the labels are united.

        Args:
            call: The call.
            weight: The attribute that holds the weight, which may be nested (`cell.kernel`); nothing is noted if it is
                None.
            axis: The axis, negative.
            labels: The labels along it; None if it is always kept.
            role: `in` for an axis that reads channels, `out` for one that produces them, `pass` for one that has one
                entry per channel.
        """
        weight = _within(call, weight)
        variable = weight_at(_holder(call), weight)
        if variable is None:
            return
        if labels is None:
            labels = self.fresh(variable.shape[axis])
            self.pin(labels, reason="another call of the layer takes fixed channels")
        slots = self.record(call).slots
        if (weight, axis) in slots:
            self.unite(slots[weight, axis][0], labels)
        else:
            slots[weight, axis] = (labels, role)

    def make(self, call: Call, count: int, part: str = "", repeats: int = 1) -> np.ndarray:
        """Returns the labels of the channels that a layer produces: new ones, or those of an earlier call of the layer.

        Args:
            call: The call.
            count: Number of channels that it produces.
            part: Name of one of several kinds of channels of the layer.
            repeats: How often the layer returns each, one after all others, such as once for each of two directions.
        """
        name = f"{call.name}.{part}" if part else call.name
        if name not in self.produced:
            self.produced[name] = np.tile(self.fresh(count), repeats)
            self.makers[name] = call.name
        return self.produced[name][:count]

    def edit(
        self, call: Call, key: str, *vectors: Vector, change: Change = kept_channel_count, argument: bool = False
    ) -> None:
        """Notes that a setting of the layer depends on what is kept along some axes.

        Args:
            call: The call.
            key: Key in the layer's configuration.
            *vectors: The labels along these axes; if none of them has labels, the setting never changes.
            change: See `Change`. Default: the setting is the number of kept positions.
            argument: Whether the key names an argument of the call instead.
        """
        edits = self.record(call).edits
        key = _within(call, key)
        if key in edits:
            self._keep_alike(edits[key].axes, vectors)
        else:
            edits[key] = Edit(key, vectors, change, argument)

    def _keep_alike(self, first: Sequence[Vector], second: Sequence[Vector]) -> None:
        """Makes two calls of one layer keep the same positions, as there is one setting for both."""
        if len(first) != len(second):
            self.pin(*first, *second, reason=_CALLS_DIFFER)
            return
        for one, other in zip(first, second, strict=True):
            if one is None or other is None or len(one) != len(other):
                self.pin(one, other, reason=_CALLS_DIFFER)
            else:
                self.unite(one, other)

    def cost(self, call: Call, constant: int, *vectors: Vector, normalization: bool = False) -> None:
        """Notes multiply-adds for one example.

        Args:
            call: The call.
            constant: Multiply-adds per position of the axes below.
            *vectors: Labels along the axes whose kept positions multiply the constant; None is skipped.
            normalization: Whether they are a batch norm's.
        """
        labelled = tuple(vector for vector in vectors if vector is not None)
        record = self.record(call)
        record.untold = [each for each in record.untold if each is not call]
        record.costs.append(Cost(call.per_example(int(constant)), labelled, normalization))

    def scale(self, call: Call, weight: str, labels: Vector) -> None:
        """Notes that a weight is multiplied by the root of the fraction that is kept along an axis."""
        scales = self.record(call).scales
        weight = _within(call, weight)
        known = any(weight == other for other, _ in scales)
        if labels is not None and not known and weight_at(_holder(call), weight) is not None:
            scales.append((weight, labels))

    def leave_alone(self, call: Call, reason: str) -> None:
        """Pins everything that a call touches, and reports the reason.

        Args:
            call: The call.
            reason: Why its channels cannot be pruned, for the user.
        """
        self.record(call).untold.append(call)
        self.unknown.setdefault(call.name, reason)
        for tensor in call.inputs:
            self.pin(*self.of(tensor), reason=self.unknown[call.name])
        for tensor in call.outputs:
            self.put(tensor, (None,) * (len(tensor.shape) - 1))

    def title(self, name: str, shown: str | None = None) -> str:
        """Returns the name (or another text to show for it) and the class of a layer."""
        return f"{shown or name} ({type(self.records[name].layer).__name__})"


def _holder(call: Call) -> keras.Operation:
    """Returns the layer of the model's graph: the called one, or its wrapper."""
    return call.layer if call.wrapper is None else call.wrapper.layer


def _within(call: Call, name: str) -> str:
    """Returns the path of a weight or setting of the called layer in the layer of the model's graph."""
    return name if call.wrapper is None else f"{call.wrapper.path}.{name}"
