"""Channels that are kept whatever their score is, and why."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from tfprune.graph import PINNED, ChannelGroups, channel_groups
from tfprune.graph.calls import Ignored, as_list, matching_names
from tfprune.graph.channel_groups import all_matching_names
from tfprune.graph.labels import Vector

IGNORED = "ignored"
"""The user wants the layers that produce or read them left alone."""

WIDTH_KEPT = "keep_width"
"""The user wants the layers that produce them to keep their width."""

UNSCORED = "no score"
"""The criterion cannot score their group."""

NEEDED = "needed"
"""Without them a layer would have too few channels, or none."""

PROTECTIONS = (IGNORED, WIDTH_KEPT, UNSCORED, NEEDED)
"""All reasons why channels are not pruned at all."""


def layer_paths(model: keras.Model, groups: ChannelGroups, ignore: Ignored | Iterable[Ignored]) -> tuple[str, ...]:
    """Converts layers that a user names to texts: layers to their paths, nested models to their names; texts stay."""
    paths = {id(layer): path for path, layer in groups.layers.items()}
    paths |= {id(layer): layer.name for layer in model.layers if isinstance(layer, keras.Model)}
    every = as_list(ignore)
    # A layer of a subclassed model is not in the graph itself, but layers with its weights are.
    others = {
        id(each): matching_names(groups.calls, each)
        for each in every
        if not isinstance(each, str) and id(each) not in paths
    }
    unknown = [each for each in every if others.get(id(each)) == set()]
    if unknown:
        channel_groups(model, unknown)  # raises the error that says what is wrong with it
    names = ([each] if isinstance(each, str) else others.get(id(each)) or [paths[id(each)]] for each in every)
    return tuple(name for found in names for name in sorted(found))


def ignored_channels(groups: ChannelGroups, ignore: tuple[str, ...]) -> np.ndarray:
    """Returns bool `[channels]`: what the layers to ignore read, produce and return, and what their weights run over.

    Args:
        groups: The groups of a model, nothing ignored.
        ignore: Names and patterns, see `channel_groups`.

    Raises:
        UnsupportedLayerError: A name matches no layer and no group.
    """
    names = all_matching_names(groups.calls, groups.produced, ignore, setting="ignore")
    read = [axis for call in groups.calls if call.name in names for each in call.inputs for axis in groups.axes(each)]
    records = [each for name, each in groups.by_layer.items() if name in names]
    weights = [slot.channels for each in records for slot in each.slots]
    settings = [axis for each in records for edit in each.edits for axis in edit.axes]
    return _marked(groups, *_produced_by(groups, names), *read, *weights, *settings)


def produced_channels(groups: ChannelGroups, names: tuple[str, ...]) -> np.ndarray:
    """Returns bool `[channels]`: the channels that some layers produce, within them too, and those that they return.

    Args:
        groups: The groups of a model.
        names: Names and patterns of the layers, or of groups.

    Raises:
        UnsupportedLayerError: A name matches no layer and no group.
    """
    meant = all_matching_names(groups.calls, groups.produced, names, setting="keep_width")
    return _marked(groups, *_produced_by(groups, meant))


def kept_layers(groups: ChannelGroups, ignore: tuple[str, ...], keep_width: tuple[str, ...]) -> dict[str, set[str]]:
    """Returns the layers that the user wants to keep, by the reason; those of a group are the layers that make it.

    Args:
        groups: The groups of a model.
        ignore: Names and patterns of layers to ignore, or of groups.
        keep_width: Those of layers that keep their width.
    """
    return {
        reason: {
            groups.maker(name) for name in all_matching_names(groups.calls, groups.produced, given, setting=setting)
        }
        for reason, setting, given in ((IGNORED, "ignore", ignore), (WIDTH_KEPT, "keep_width", keep_width))
    }


def _produced_by(groups: ChannelGroups, names: set[str]) -> Iterator[np.ndarray]:
    """Yields the channel numbers along what layers, or parts of them, produce, and what the layers return."""
    yield from (vector for name, vector in groups.produced.items() if names & {name, groups.maker(name)})
    yield from (channels for name, channels in groups.named_axes() if name in names)


def _marked(groups: ChannelGroups, *vectors: Vector) -> np.ndarray:
    """Returns bool `[channels]`: those whose numbers are in some vectors."""
    result = np.zeros(groups.channels, bool)
    for vector in vectors:
        if vector is not None:
            result[vector[vector != PINNED]] = True
    return result


def protections(
    asked: Mapping[str, np.ndarray], scores: np.ndarray, ranks: np.ndarray, groups: ChannelGroups, min_channels: int
) -> dict[str, np.ndarray]:
    """Returns the protected channels by the reason, bool `[channels]` each.

    Args:
        asked: Those that the user wants to keep, by the reason.
        scores: Scores, NaN where there is none.
        ranks: Ranks in the order of removal.
        groups: The groups.
        min_channels: See `needed_channels`.
    """
    return {
        **asked,
        UNSCORED: unscored_channels(scores, groups),
        NEEDED: needed_channels(ranks, groups, min_channels),
    }


def unscored_channels(scores: np.ndarray, groups: ChannelGroups) -> np.ndarray:
    """Returns bool `[channels]`: the channels of groups in which a score is not a number."""
    return np.isin(groups.owner, groups.owner[np.isnan(scores)])


def needed_channels(ranks: np.ndarray, groups: ChannelGroups, min_channels: int) -> np.ndarray:
    """Returns bool `[channels]`: the best channels of axes that limits of whole groups do not keep from running empty.

    Limits of a group guarantee that some of its channels are kept. An axis with only a part of each of some groups,
    such as the outputs of a layer that are added to half of another's, might lose all of them.

    Args:
        ranks: Ranks in the order of removal `[channels]`, the highest ones are the best.
        groups: The groups.
        min_channels: Positions to keep at least along an axis of outputs; along other axes one.
    """
    result = np.zeros(groups.channels, bool)
    seen: set[tuple[bytes, int]] = set()
    sizes = np.array([group.size for group in groups])
    for channels, least in _axes(groups, min_channels):
        key = (channels.tobytes(), least)
        if key in seen:
            continue
        seen.add(key)
        free = channels[channels != PINNED]
        distinct, positions = np.unique(free, return_counts=True)
        here = np.bincount(groups.owner[distinct], minlength=len(sizes))
        missing = least - (len(channels) - len(free))
        if missing <= 0 or (here == sizes).any():
            continue
        best = np.argsort(ranks[distinct], kind="stable")[::-1]
        enough = int(np.searchsorted(np.cumsum(positions[best]), missing)) + 1
        result[distinct[best[:enough]]] = True
    return result


def _axes(groups: ChannelGroups, min_channels: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields the channels along each axis of a weight or a setting, and how many positions must be kept."""
    each: Any
    for each in groups.by_layer.values():
        for slot in each.slots:
            yield slot.channels, min_channels if slot.role == "out" else 1
        for edit in each.edits:
            for channels in edit.axes:
                if channels is not None:
                    yield channels, 1
    for _, channels in groups.named_axes():
        yield channels, 1
