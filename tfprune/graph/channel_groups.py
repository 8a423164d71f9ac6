"""Which channels of a model must be kept or removed together: the channel dependency graph.

Every channel of every tensor has a label. Layers that produce channels (convolutions, dense layers) give out new
labels, most other layers pass them on, and merges such as `Add` unite the labels of their inputs channel by channel.
Each axis of a weight that runs over channels records its labels. Labels that are united at the end are one prunable
channel; the prunable channels that one layer produces are a channel group.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

import keras
import numpy as np

from tfprune.arguments import line_width, truth
from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.graph.calls import (
    Call,
    Ignored,
    ModelGraph,
    OpenedLayer,
    as_list,
    is_within,
    matching_names,
    model_graph,
    no_such_layer,
)
from tfprune.graph.configured_widths import configured_widths, scaled
from tfprune.graph.labels import PINNED, Labels, LayerChannels, LayerRecord, Slot, Vector, weight_at
from tfprune.graph.layer_copies import why_not_remade
from tfprune.graph.layer_parts import Parts
from tfprune.graph.left_alone import LeftAlone, all_left_alone
from tfprune.graph.opened_graph import expandable, opened_graph
from tfprune.graph.random_inputs import random_weight
from tfprune.graph.rules import apply_rule
from tfprune.graph.subclassed import functional_model
from tfprune.keras_private import flat_layers
from tfprune.tables import WIDTH, Cell, Column, count, make_table, paragraph


@dataclass(frozen=True)
class ChannelGroup:
    """Prunable channels that one layer produces, possibly together with other layers.

    Attributes:
        name: Name of the first layer that produces these channels; `layer.part` if it produces several kinds.
        start: Number of its first channel among all prunable channels of the model.
        size: Number of channels.
        layers: Names of all layers that produce these channels.
        multiplicity: Number of positions of the first layer's width per prunable channel: 1, but 8 in a convolution
            with 8 groups, and 2 in a bidirectional layer; the largest number, where channels differ.
    """

    name: str
    start: int
    size: int
    layers: tuple[str, ...]
    multiplicity: int = 1

    @property
    def channels(self) -> slice:
        """The positions of the group in a vector over all prunable channels."""
        return slice(self.start, self.start + self.size)


def other_makers(name: str, layers: Sequence[str]) -> tuple[str, ...]:
    """Returns the layers of a group that its name does not tell: all but the one that it is named after.

    Args:
        name: Name of the group: a layer, or `layer.part`.
        layers: All layers that produce its channels.
    """
    return tuple(layer for layer in layers if not f"{name}.".startswith(f"{layer}."))


@dataclass(frozen=True, eq=False)
class ChannelGroups(Sequence[ChannelGroup]):
    """The channel groups of a model, in the order in which their first layers appear.

    Attributes:
        groups: The groups.
        calls: The model's calls, with nested models opened; `axes` takes their tensors.
        by_layer: Where the channels are in every layer, by its name (`outer/inner` in a nested model).
        left_alone: Everything that is not pruned, with the reason; outputs of the model come last.
        produced: Channel numbers along what each layer produces, `PINNED` included, by the names that groups have.
        graph: The graph that was read.
        expandable: Opened layers that functional models may take the place of.
        freed: The channels that only these models can lose, by the name of the opened layer that the model calls.
        keep_classes: Whether opened layers were to stay of their class.
    """

    groups: tuple[ChannelGroup, ...]
    calls: tuple[Call, ...] = field(repr=False)
    by_layer: Mapping[str, LayerChannels]
    left_alone: tuple[LeftAlone, ...]
    _tensors: Mapping[int, tuple[np.ndarray | None, ...]] = field(repr=False)
    produced: Mapping[str, np.ndarray] = field(repr=False, default_factory=dict)
    graph: ModelGraph = field(repr=False, default_factory=lambda: ModelGraph((), ()))
    expandable: tuple[OpenedLayer, ...] = field(repr=False, default=())
    freed: Mapping[str, np.ndarray] = field(repr=False, default_factory=dict)
    keep_classes: bool = False

    @property
    def channels(self) -> int:
        """Number of prunable channels, over all groups."""
        return sum(group.size for group in self.groups)

    @property
    def positions(self) -> np.ndarray:
        """Number of positions that each prunable channel has in the first layer of its group, int `[channels]`."""
        counts = np.zeros(self.channels, int)
        for group in self:
            vector = self.produced[group.name]
            counts[group.channels] = np.bincount(vector[vector != PINNED], minlength=self.channels)[group.channels]
        return counts

    @property
    def fixed(self) -> int:
        """Number of positions that always stay in the layers that groups are named after."""
        return sum(int((self.produced[group.name] == PINNED).sum()) for group in self)

    @property
    def width(self) -> int:
        """Width of the layers that groups are named after, each position counted once, as in the totals of plans."""
        return self.fixed + int(self.positions.sum())

    @property
    def pinned(self) -> tuple[str, ...]:
        """What is not pruned, except outputs of the model: one line of text for each entry of `left_alone`."""
        return tuple(str(each) for each in self.left_alone if not each.is_output)

    @property
    def owner(self) -> np.ndarray:
        """Index of the group of each prunable channel `[channels]`."""
        return np.repeat(np.arange(len(self.groups)), [group.size for group in self.groups])

    @property
    def slots(self) -> dict[str, tuple[Slot, ...]]:
        """The weight axes that run over channels, by layer."""
        return {name: each.slots for name, each in self.by_layer.items() if each.slots}

    @property
    def layers(self) -> dict[str, keras.Operation]:
        """The layers by name."""
        return {name: each.layer for name, each in self.by_layer.items()}

    def slots_of(self, name: str) -> tuple[Slot, ...]:
        """Returns the slots of a layer, none if nothing in it runs over channels."""
        return self.by_layer[name].slots if name in self.by_layer else ()

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.groups[index]

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[ChannelGroup]:
        return iter(self.groups)

    def axes(self, tensor: keras.KerasTensor) -> tuple[np.ndarray | None, ...]:
        """Returns the channel numbers along each axis of a tensor after the batch axis.

        Args:
            tensor: A symbolic tensor of `calls`.

        Returns:
            A vector for each axis; None for an axis along which nothing can be removed.
        """
        return self._tensors[id(tensor)]

    def maker(self, name: str) -> str:
        """Returns the layer that a name in `produced` stands for: `layer` for `layer.part`."""
        return name if name in self.by_layer else name.rpartition(".")[0]

    def named_axes(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields the channel numbers along each axis of what the calls return, with the layer's name."""
        for call in self.calls:
            for tensor in call.outputs:
                for channels in self._tensors[id(tensor)]:
                    if channels is not None:
                        yield call.name, channels

    def tensor_channels(self, tensor: keras.KerasTensor) -> np.ndarray:
        """Returns the channel numbers along the last axis of a symbolic tensor, `PINNED` where not prunable."""
        vector = self._tensors[id(tensor)][-1]
        return np.full(tensor.shape[-1] or 1, PINNED) if vector is None else vector

    def group_of(self, channels: np.ndarray) -> int | None:
        """Returns the index of the group that has exactly these channels in this order; None if there is none."""
        for index, group in enumerate(self.groups):
            if len(channels) == group.size and channels[0] == group.start:
                whole = np.arange(group.start, group.start + group.size)
                return index if np.array_equal(channels, whole) else None
        return None

    def expanded(self, mask: np.ndarray) -> tuple[OpenedLayer, ...]:
        """Returns the opened layers that functional models take the place of, and those within them.

        Args:
            mask: Bool `[channels]`, True for what is kept.
        """
        outer = [name for name, channels in self.freed.items() if not mask[channels].all()]
        return tuple(layer for layer in self.expandable if any(is_within(layer.name, name) for name in outer))

    def __repr__(self) -> str:
        alone = f", {len(self.left_alone)} left alone" if self.left_alone else ""
        return f"ChannelGroups({count(len(self), 'group')}, {count(self.width, 'channel')}{alone})"

    def __str__(self) -> str:
        return self.table()

    def table(self, *, width: int = WIDTH) -> str:
        """Returns a table of the groups, and what is left alone.

        Args:
            width: Characters per line.
        """
        width = line_width(width)
        title = f"{count(len(self), 'channel group')}, {count(self.width, 'channel')}"
        tied = self.width != self.channels
        if tied:
            title += f", of which {self.channels:,} are free: others go with one of them, or stay"
        rows: list[Sequence[Cell]] = []
        for group in self:
            whole = f"{len(self.produced[group.name]):,}"
            rows.append((group.name, whole, f"{group.size:,}" if tied else "", other_makers(group.name, group.layers)))
        makers = "also made by" if any(row[-1] for row in rows) else ""
        columns = [Column("group", "name"), Column("channels"), Column("free" if tied else ""), Column(makers, "name")]
        table = [make_table(columns, rows, width=width)] if rows else []
        alone = [paragraph(str(each), width=width, indent=2, hanging=2) for each in self.left_alone]
        return "\n".join([title, *table, *(["left alone:"] if alone else []), *alone])


def channel_groups(model: keras.Model, ignore: Iterable[Ignored] = (), *, keep_classes: bool = False) -> ChannelGroups:
    """Finds the channel groups of a model.

    Channels of the model's inputs and outputs are not prunable, nor is anything that a layer without a rule touches.
    Nested models are opened; if a layer is called several times, the channels of its calls are united.

    Args:
        model: A functional or sequential model, or a subclassed one, built. It is not changed. `slim` takes the groups
            with the model that they were found in: of a subclassed one, that is `tfprune.functional_model(model)`.
        ignore: Layers whose channels are not pruned, neither those that they produce nor those that they read, within
            them or outside: names (`outer/inner` in nested models), patterns such as `stage1_*`, or layers. The name
            of a group, such as `attention.heads`, stands for its channels only.
        keep_classes: Whether layers with layers within them stay of their class: only channels are pruned whose number
            their settings say. Otherwise functional models may take their places.

    Returns:
        The groups, with every weight axis that belongs to them.

    Raises:
        UnsupportedLayerError: The model has no graph, or `ignore` matches no layer.

    Example:
        >>> import keras
        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.Conv2D(4, 3)(inputs)
        >>> x = keras.layers.GlobalAveragePooling2D()(x)
        >>> groups = channel_groups(keras.Model(inputs, keras.layers.Dense(2)(x)))
        >>> [group.size for group in groups]
        [4]
    """
    keep_classes = truth("keep_classes", keep_classes)
    model = functional_model(model)
    meant = as_list(ignore)
    if not meant:
        return groups_except(model, {}, keep_classes=keep_classes)
    graph = opened_graph(model)
    ignored = all_matching_names(graph.calls, _read(graph, {}, {}).produced, meant, setting="ignore")
    return groups_except(model, dict.fromkeys(ignored, "ignored as asked"), graph=graph, keep_classes=keep_classes)


def groups_except(
    model: keras.Model,
    reasons: Mapping[str, str],
    *,
    opens: bool = True,
    graph: ModelGraph | None = None,
    keep_classes: bool = False,
) -> ChannelGroups:
    """Finds the channel groups of a model; some layers are left alone.

    Where an axis is split into several ones, as in a pixel shuffle, and nothing along the last of them can be removed,
    the others are tried.

    Args:
        model: A functional or sequential model, built. It is not changed.
        reasons: Why a layer's channels are not pruned, by its name; or those of one kind that it produces, by
            `layer.part`.
        opens: Whether opaque layers are opened; without, nothing in them is pruned.
        graph: The model's graph, if it is known.
        keep_classes: See `channel_groups`.
    """
    graph = graph or (opened_graph(model) if opens else model_graph(model))
    general = {} if keep_classes or not graph.opened else expandable(graph, model)
    read = partial(_settled, graph, reasons, general)
    labels, freed = read({})
    choices: dict[str, int] = {}
    for choice in range(1, max((axes for _, axes in labels.splits.values()), default=0)):
        held = [name for name, (_, axes) in labels.splits.items() if choice < axes and _is_held(labels, name)]
        other, _ = read(choices | dict.fromkeys(held, choice)) if held else (labels, freed)
        helped = choices | {name: choice for name in held if name in other.splits and not _is_held(other, name)}
        if helped != choices:
            other, others = read(helped)
            if other.free_count() > labels.free_count():
                labels, freed, choices = other, others, helped
    if graph.opened and len(general) < len(graph.opened):
        labels, freed = read(choices, tied=True)
    groups, roots = _collect(graph, labels)
    numbers = {name: np.flatnonzero(np.isin(roots, labels.roots(each))) for name, each in freed.items()}
    return replace(groups, expandable=tuple(general.values()), freed=numbers, keep_classes=keep_classes)


def _settled(
    graph: ModelGraph,
    reasons: Mapping[str, str],
    general: Mapping[str, OpenedLayer],
    choices: Mapping[str, int],
    *,
    tied: bool = False,
) -> tuple[Labels, dict[str, np.ndarray]]:
    """Reads a graph, and finds which settings of opened layers depend on channels.

    Args:
        graph: The graph.
        reasons: See `groups_except`.
        general: The layers that functional models may take the place of, by name.
        choices: See `Labels`.
        tied: Whether channels may go together because one setting says the number of several kinds.

    Returns:
        The labels, and those of channels that only functional models can lose, by the name of the opened layer.
    """
    labels = _read(graph, reasons, choices)
    freed = _note_opened(labels, *_collect(graph, labels), general, tied=tied) if graph.opened else {}
    return labels, freed


def _note_opened(
    labels: Labels, groups: ChannelGroups, roots: np.ndarray, general: Mapping[str, OpenedLayer], *, tied: bool
) -> dict[str, np.ndarray]:
    """Notes which settings of opened layers depend on channels within them; pins those on which none does.

    Args:
        labels: The labels of the model.
        groups: What they were collected to.
        roots: The label of each channel.
        general: The layers that functional models may take the place of, by name.
        tied: See `_settled`.

    Returns:
        The labels of the channels that only these models can lose, by the name of the layer.
    """
    opened = groups.graph.opened
    freed: dict[str, np.ndarray] = {}
    for layer in opened:
        if layer.within is not None:
            continue
        labels.current = Call(layer.layer, layer.name, (), (), None)
        own = {id(part) for part in flat_layers(layer.layer)}
        within = {
            name: each for name, each in groups.by_layer.items() if is_within(name, layer.name) or id(each.layer) in own
        }
        make_parts = partial(_parts, opened, within, groups)
        with warnings.catch_warnings(action="ignore"):  # of trials that fail
            found = configured_widths(
                layer, list(within.values()), make_parts, groups.channels, tied=tied and layer.name not in general
            )
        for first, *others in found.ties:
            for other in others:
                labels.unite(roots[first], roots[other])
        if layer.name in general:
            freed[layer.name] = roots[found.unexplained]
        else:
            labels.pin(roots[found.unexplained], reason="none of its settings says their number")
        for key, channels in found.settings.items():
            vector = labels.fresh(len(channels))
            labels.pin(vector[channels == PINNED])
            labels.unite(vector[channels != PINNED], roots[channels[channels != PINNED]])
            labels.edit(labels.current, key, vector, change=lambda old, kept: scaled(old, kept[0]))
        labels.record(labels.current)
    return freed


def _parts(
    opened: Sequence[OpenedLayer], within: Mapping[str, LayerChannels], groups: ChannelGroups, mask: np.ndarray
) -> Parts:
    return Parts(opened, within, groups.axes, mask, random_weight)


def _is_held(labels: Labels, name: str) -> bool:
    """Returns whether nothing along an axis that a call splits can be removed."""
    return all(map(labels.is_pinned, labels.splits[name][0].ravel().tolist()))


def _read(graph: ModelGraph, reasons: Mapping[str, str], choices: Mapping[str, int]) -> Labels:
    """Applies the rule of each call; see `groups_except`, and `Labels` for the choices."""
    labels = Labels(choices, graph.closed)
    for labels.current in graph.calls:
        call = labels.current
        labels.records.setdefault(call.name, LayerRecord(call.layer))
        apply_rule(labels, call)
        if unset := [str(tensor.shape) for tensor in call.outputs if not labels.knows(tensor)]:
            raise ConfigError(
                f"the rule of {call.name} ({type(call.layer).__name__}) sets no labels of its output of shape "
                f"{unset[0]}; it must call labels.put(tensor, axes) for each tensor of call.outputs"
            )
        _pin_for_reasons(labels, call, reasons)
    _pin_shared_weights(labels, graph.calls)
    for tensor in graph.outputs:
        labels.pin_outputs(*labels.axes(tensor))
    _pin_what_cannot_be_remade(labels, graph.calls)
    return labels


def _pin_for_reasons(labels: Labels, call: Call, reasons: Mapping[str, str]) -> None:
    """Pins what a call reads, returns, and has within its layer, or a part of that, if `reasons` says so."""
    for name, produced in labels.produced.items():
        if labels.makers[name] == call.name and (reason := reasons.get(name) or reasons.get(call.name)):
            labels.pin(produced, reason=reason)
    if call.name in reasons:
        record = labels.records[call.name]
        tensors = [labels.axes(tensor) for tensor in (*call.inputs, *call.outputs)]
        settings = [edit.axes for edit in record.edits.values()]
        weights = [vector for vector, _ in record.slots.values()]
        labels.pin(*chain(*tensors, *settings, weights), reason=reasons[call.name])


def _pin_shared_weights(labels: Labels, calls: Sequence[Call]) -> None:
    """Pins channels of weights that several layers hold, such as a wrapped layer that is also called directly."""
    holders: dict[int, list[str]] = {}
    for name, record in labels.records.items():
        for variable in {id(weight) for weight in getattr(record.layer, "weights", ())}:
            holders.setdefault(variable, []).append(name)
    for labels.current in calls:
        record = labels.records[labels.current.name]
        for (weight, _), (vector, _) in record.slots.items():
            others = [other for other in holders[id(weight_at(record.layer, weight))] if other != labels.current.name]
            if others:
                labels.pin(vector, reason=f"it shares weights with {', '.join(others)}")


def _pin_what_cannot_be_remade(labels: Labels, calls: Sequence[Call]) -> None:
    """Pins the channels of layers that would have to be made again at other sizes, which Keras cannot do."""
    for labels.current in calls:
        name, record = labels.current.name, labels.records[labels.current.name]
        tensors = (*labels.current.inputs, *labels.current.outputs)
        touched = [
            *(vector for tensor in tensors for vector in labels.of(tensor)),
            *(ids for ids, _ in record.slots.values()),
        ]
        free = any(not labels.is_pinned(label) for each in touched if each is not None for label in each.tolist())
        cause = why_not_remade(record.layer) if free and isinstance(record.layer, keras.Layer) else None
        if cause is not None:
            reason = labels.unknown.setdefault(name, f"Keras cannot make it again from its configuration ({cause})")
            labels.pin(*touched, reason=reason)


def all_matching_names(
    calls: Sequence[Call], produced: Iterable[str], meant: Iterable[Ignored], *, setting: str
) -> set[str]:
    """Returns the names of layers and groups that a user means.

    Args:
        calls: The calls of a model.
        produced: Names that groups may have, see `ChannelGroups.produced`.
        meant: Names, patterns or layers, as `channel_groups` takes them.
        setting: What the user gave them as, for the message.

    Raises:
        UnsupportedLayerError: One of them matches no layer, and no kind of channels.
    """
    found: set[str] = set()
    for each in meant:
        names = matching_names(calls, each, produced)
        if not names:
            shown = each if isinstance(each, str) else each.name
            raise UnsupportedLayerError(no_such_layer(setting, shown, [call.name for call in calls]))
        found |= names
    return found


def _collect(graph: ModelGraph, labels: Labels) -> tuple[ChannelGroups, np.ndarray]:
    """Numbers the united labels group by group, and replaces labels by numbers in records and tensors.

    Returns:
        The groups, and the label that stands for each channel.
    """
    root_of = labels.roots(np.arange(labels.count))
    pinned = np.array([labels.is_pinned(root) for root in range(labels.count)], dtype=bool)
    number = np.full(labels.count, PINNED)
    producers: dict[int, list[str]] = {}
    for name, produced in labels.produced.items():
        for root in np.unique(root_of[produced]).tolist():
            producers.setdefault(root, []).append(name)
    groups: list[ChannelGroup] = []
    numbered = [np.zeros(0, int)]
    start = 0
    for name, produced in labels.produced.items():
        roots, counts = _distinct(root_of[produced])
        free = ~pinned[root_of[roots]] & (number[roots] == PINNED)
        if not free.any():
            continue
        fresh = roots[free]
        number[fresh] = np.arange(start, start + len(fresh))
        numbered.append(fresh)
        known = {producer for root in fresh.tolist() for producer in producers[root]}
        ordered = tuple(producer for producer in labels.produced if producer in known)
        groups.append(ChannelGroup(name, start, len(fresh), ordered, int(counts[free].max())))
        start += len(fresh)

    def numbers(vector: Vector) -> np.ndarray | None:
        return None if vector is None else number[root_of[vector]]

    by_layer = {name: _numbered(record, numbers) for name, record in labels.records.items()}
    tensors = {
        id(tensor): tuple(numbers(vector) for vector in labels.of(tensor))
        for call in graph.calls
        for tensor in call.outputs
    }
    made = {name: number[root_of[vector]] for name, vector in labels.produced.items()}
    found = ChannelGroups(tuple(groups), graph.calls, by_layer, all_left_alone(labels), tensors, made, graph)
    return found, np.concatenate(numbered)


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct values in order of appearance, and how often each appears."""
    distinct, first, counts = np.unique(values, return_index=True, return_counts=True)
    order = np.argsort(first)
    return distinct[order], counts[order]


def _numbered(record: LayerRecord, numbers: Any) -> LayerChannels:
    slots = tuple(Slot(weight, axis, numbers(ids), role) for (weight, axis), (ids, role) in record.slots.items())
    edits = tuple(
        replace(edit, axes=tuple(map(numbers, edit.axes)))
        for edit in record.edits.values()
        if any(axis is not None for axis in edit.axes)
    )
    costs = tuple(replace(cost, axes=tuple(map(numbers, cost.axes))) for cost in record.costs)
    scales = tuple((weight, numbers(ids)) for weight, ids in record.scales)
    return LayerChannels(record.layer, slots, edits, costs, scales, tuple(record.untold))
