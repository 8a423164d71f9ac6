"""Which channels of a model hang together: the channel dependency graph.

Every channel of every tensor carries a label. Layers that compute new channels (convolutions, dense layers) give out
fresh labels, most other layers pass them on, and merges such as `Add` unite the labels of their inputs channel by
channel. Each axis of a weight that runs over channels records the labels found there. What is united at the end must be
kept or removed together: that is a channel group.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from tfprune.graph.calls import Call, model_calls
from tfprune.graph.channel_rules import Labels, rule_for

PINNED = -1
"""Channel number of positions that cannot be pruned: model inputs and outputs, and what unknown layers touch."""


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that must be kept or removed together.

    Attributes:
        name: Name of the first layer that computes these channels.
        start: Number of its first channel among all the model's prunable channels.
        size: Channels.
        layers: Names of all layers that compute these channels.
    """

    name: str
    start: int
    size: int
    layers: tuple[str, ...]

    @property
    def channels(self) -> slice:
        """Where the group lies in a vector over all prunable channels."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Slot:
    """One axis of one weight that runs over channels.

    Attributes:
        weight: Attribute name of the weight in its layer, such as `kernel`.
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
        keep = self.channels == PINNED
        keep[~keep] = mask[self.channels[~keep]]
        return np.flatnonzero(keep)


class ChannelGroups(Sequence[ChannelGroup]):
    """The channel groups of a model, in the order in which their first layers appear.

    Attributes:
        groups: The groups.
        slots: Per layer name, the weight axes that run over channels.
        pinned: Layers without a rule, whose channels are left alone: name and class.
        channels: Number of prunable channels, over all groups.
        owner: Index of the group of each prunable channel `[channels]`.
    """

    def __init__(
        self,
        groups: Sequence[ChannelGroup],
        slots: dict[str, tuple[Slot, ...]],
        tensors: dict[int, np.ndarray],
        pinned: Sequence[str],
    ) -> None:
        self.groups = tuple(groups)
        self.slots = slots
        self.pinned = tuple(pinned)
        self.channels = sum(group.size for group in groups)
        self.owner = np.repeat(np.arange(len(groups)), [group.size for group in groups])
        self._tensors = tensors

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.groups[index]

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[ChannelGroup]:
        return iter(self.groups)

    def tensor_channels(self, tensor: keras.KerasTensor) -> np.ndarray:
        """Channel numbers along the last axis of a symbolic tensor of the model, `PINNED` where not prunable."""
        return self._tensors[id(tensor)]

    def group_of(self, channels: np.ndarray) -> int | None:
        """Index of the group whose channels these are exactly, in order; None if there is none."""
        for index, group in enumerate(self.groups):
            if len(channels) == group.size and channels[0] == group.start:
                whole = np.arange(group.start, group.start + group.size)
                return index if np.array_equal(channels, whole) else None
        return None

    def __str__(self) -> str:
        lines = [f"{len(self)} channel groups, {self.channels} channels"]
        lines += [f"  {group.name:<24} {group.size:5d} channels  made by {', '.join(group.layers)}" for group in self]
        lines += [f"  left alone, no rule for it: {name}" for name in self.pinned]
        return "\n".join(lines)


def channel_groups(model: keras.Model) -> ChannelGroups:
    """Finds the channel groups of a functional model.

    Channels of the model's inputs and outputs are not prunable, nor is anything that a layer without a rule touches.

    Args:
        model: A functional or sequential model, built. It is not changed.

    Returns:
        The groups, with every weight axis that belongs to them.

    Raises:
        UnsupportedLayerError: The model has no graph, or calls a layer with weights more than once.

    Example:
        >>> import keras
        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.Conv2D(4, 3)(inputs)
        >>> x = keras.layers.GlobalAveragePooling2D()(x)
        >>> groups = channel_groups(keras.Model(inputs, keras.layers.Dense(2)(x)))
        >>> [group.size for group in groups]
        [4]
    """
    calls = model_calls(model)
    labels = Labels()
    for call in calls:
        rule_for(call.layer)(labels, call)
    graph = getattr(model, "_functional", None) or model
    for tensor in graph.outputs:
        labels.pin(labels.of(tensor))
    return _collect(calls, labels)


def _collect(calls: Sequence[Call], labels: Labels) -> ChannelGroups:
    """Numbers the united labels group by group, and writes the numbers into slots and tensors."""
    roots_of_layer = {name: np.unique(labels.roots(born)) for name, born in labels.born.items()}
    number = np.full(labels.count, PINNED)
    groups: list[ChannelGroup] = []
    start = 0
    for name, born in labels.born.items():
        roots = [root for root in dict.fromkeys(labels.roots(born).tolist()) if not labels.is_pinned(root)]
        fresh = [root for root in roots if number[root] == PINNED]
        if not fresh:
            continue
        makers = tuple(other for other, made in roots_of_layer.items() if np.isin(fresh, made).any())
        number[fresh] = np.arange(start, start + len(fresh))
        groups.append(ChannelGroup(name, start, len(fresh), makers))
        start += len(fresh)
    slots = {
        name: tuple(Slot(weight, axis, number[labels.roots(ids)], role) for weight, axis, ids, role in layer_slots)
        for name, layer_slots in labels.slots.items()
    }
    tensors = {id(tensor): number[labels.roots(labels.of(tensor))] for call in calls for tensor in call.outputs}
    return ChannelGroups(groups, slots, tensors, labels.unknown)
