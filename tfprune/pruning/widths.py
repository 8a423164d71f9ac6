"""The widths of a model's layers, as they follow from the channels that are kept, and the limits of each."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tfprune.errors import UnsupportedLayerError, suggestion
from tfprune.graph import PINNED, ChannelGroup, ChannelGroups
from tfprune.graph.calls import matching_names
from tfprune.pruning.budget import WidthConstraints
from tfprune.reprs import short_repr


@dataclass(frozen=True, eq=False)
class LayerWidth:
    """The width of what one layer produces.

    Attributes:
        name: The layer, or `layer.part` if it produces several kinds of channels.
        channels: Numbers of the prunable channels that it produces, ascending.
        positions: How many positions of its width each of these stands for.
        fixed: Positions that are always kept.
        limit: The largest fraction of its width that it may lose.
    """

    name: str
    channels: np.ndarray
    positions: np.ndarray
    fixed: int
    limit: float

    __repr__ = short_repr

    @property
    def whole(self) -> int:
        """The width of the unpruned layer."""
        return self.fixed + int(self.positions.sum())

    def of(self, mask: np.ndarray) -> int:
        """Returns the width where `mask` (bool `[channels of the model]`) keeps channels."""
        return self.fixed + int(self.positions[mask[self.channels]].sum())


class Widths:
    """The widths of all layers that produce prunable channels.

    Args:
        groups: The channel groups of a model.
        constraints: Their limits. Default: none.
        strict: Whether each limit must be for layers that there are.

    Raises:
        UnsupportedLayerError: A limit is for layers that do not exist, or produce no prunable channels.

    Attributes:
        layers: The widths by name.
    """

    def __init__(
        self, groups: ChannelGroups, constraints: WidthConstraints | None = None, *, strict: bool = True
    ) -> None:
        constraints = constraints or WidthConstraints()
        vectors = {name: vector for name, vector in groups.produced.items() if np.any(vector != PINNED)}
        limits = _limits(vectors, groups, constraints.max_sparsity, strict)
        self.layers: dict[str, LayerWidth] = {}
        for name, vector in vectors.items():
            channels, counts = np.unique(vector[vector != PINNED], return_counts=True)
            self.layers[name] = LayerWidth(name, channels, counts, len(vector) - int(counts.sum()), limits[name])
        self._groups = groups
        owners = {name: groups.owner[layer.channels] for name, layer in self.layers.items()}
        self._members = {name: set(np.unique(owner).tolist()) for name, owner in owners.items()}
        self._counted, self._fixed = groups.positions, groups.fixed

    def channels(self, mask: np.ndarray) -> int:
        """Returns how many positions are kept of the layers that groups are named after, each counted once."""
        return self._fixed + int(self._counted[mask].sum())

    def of_group(self, group: ChannelGroup, mask: np.ndarray) -> int:
        """Returns how many of the positions of a group's first layer the channels of the group that are kept have."""
        return int(self._counted[group.channels][mask[group.channels]].sum())

    def of_layers(self, group: int) -> list[LayerWidth]:
        """Returns the widths of the layers that produce channels of a group, given by its index."""
        return [layer for name, layer in self.layers.items() if group in self._members[name]]

    def connected(self) -> Iterator[tuple[list[ChannelGroup], list[LayerWidth]]]:
        """Yields groups whose channels meet in a layer, directly or through other groups, with all their layers."""
        parts: list[tuple[set[int], list[LayerWidth]]] = []
        for layer in self.layers.values():
            members, layers = self._members[layer.name], [layer]
            for part in [part for part in parts if part[0] & members]:
                parts.remove(part)
                members, layers = members | part[0], [*part[1], *layers]
            parts.append((members, layers))
        for members, layers in parts:
            yield [self._groups[index] for index in sorted(members)], layers


def _limits(
    layers: Iterable[str], groups: ChannelGroups, max_sparsity: float | Mapping[str, float], strict: bool
) -> dict[str, float]:
    """Returns the largest fraction that each layer may lose: that of the first pattern that matches it, or all."""
    if not isinstance(max_sparsity, Mapping):
        return dict.fromkeys(layers, max_sparsity)
    limits = dict.fromkeys(layers, 1.0)
    for pattern, limit in reversed(list(max_sparsity.items())):
        matched = matching_names(groups.calls, pattern, limits)
        found = [each for each in limits if matched & {each, groups.maker(each)}]
        if strict and not found:
            raise UnsupportedLayerError(
                "max_sparsity: expected names or patterns of layers that produce prunable channels, received "
                f"{pattern!r}, which matches none{suggestion(pattern, limits)}"
            )
        limits |= dict.fromkeys(found, limit)
    return limits
