"""Which settings of an opened layer say the widths of what is within it.

A block of a transformer is made again from its configuration, at other widths. Which setting says which width is found
by trying: a setting may be it if it has the width as its value, and it is if the new block has the weights that remain,
and computes what the layers within it compute when each is made again smaller. So a wrong guess cannot pass.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np

from tfprune.graph.calls import OpenedLayer
from tfprune.graph.labels import PINNED, LayerChannels, kept_positions
from tfprune.graph.layer_copies import alike, configuration, default_policy, random_state_kept, remade_layer
from tfprune.graph.layer_parts import Parts
from tfprune.keras_private import flat_layers, takes_training

_MOST_SETTINGS = 6
_TIMES = (1, 2, 3, 4)  # Gemma's width of the MLP is half of what its setting says
_PLAIN = (int, float, str, bytes, type(None))
_NAMES = ("name", "path")
_tried: "WeakKeyDictionary[type, dict[Any, bool]]" = WeakKeyDictionary()


@dataclass(frozen=True)
class ConfiguredWidths:
    """What was found out about one opened layer.

    Attributes:
        settings: The channel numbers along an axis, of whose kept positions the value is a multiple, by setting.
        unexplained: Prunable channels within the layer that cannot be removed, as no setting says their number.
    """

    settings: Mapping[str, np.ndarray] = field(default_factory=dict)
    unexplained: np.ndarray = field(default_factory=lambda: np.zeros(0, int))


MakeParts = Callable[[np.ndarray], Parts]


def configured_widths(
    opened: OpenedLayer, by_layer: Mapping[str, LayerChannels], make_parts: MakeParts, channels: int
) -> ConfiguredWidths:
    """Finds which settings of a layer say the widths of what is within it.

    Args:
        opened: An opened layer that the model calls itself.
        by_layer: Where the channels of the model are in every layer.
        make_parts: Gives what runs the layers within it at other widths, for a mask of the channels.
        channels: Number of prunable channels of the model.
    """
    within = [each for name, each in by_layer.items() if name.startswith(f"{opened.name}/")]
    noted = [slot.channels for each in within for slot in each.slots]
    noted += [axis for each in within for edit in each.edits for axis in edit.axes if axis is not None]
    vectors = _distinct(noted)
    trial = _Trial(opened, make_parts, channels)
    settings: dict[str, np.ndarray] = {}
    explained: list[np.ndarray] = []
    unexplained: list[np.ndarray] = []
    for kind in _kinds(vectors):
        axes = [vector for vector in vectors if np.isin(kind, vector).all()]
        found = trial.settings(kind, axes, explained, settings)
        if found is None:
            unexplained.append(kind)
        else:
            explained.append(kind)
            settings |= found
    return ConfiguredWidths(settings, np.concatenate(unexplained) if unexplained else np.zeros(0, int))


def _distinct(vectors: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Returns the vectors that have prunable channels, each once."""
    return list({each.tobytes(): each for each in vectors if np.any(each != PINNED)}.values())


def _kinds(vectors: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the prunable channels by the vectors that they are in: those of one kind go alike."""
    holders: dict[int, list[int]] = {}
    for index, vector in enumerate(vectors):
        for channel in np.unique(vector[vector != PINNED]).tolist():
            holders.setdefault(channel, []).append(index)
    kinds: dict[tuple[int, ...], list[int]] = {}
    for channel, where in holders.items():
        kinds.setdefault(tuple(where), []).append(channel)
    return [np.array(each) for each in kinds.values()]


class _Trial:
    """Makes a layer again without some of its channels, with random weights."""

    def __init__(self, opened: OpenedLayer, make_parts: MakeParts, channels: int) -> None:
        self._opened, self._make_parts, self._channels = opened, make_parts, channels
        self._layer = opened.layer
        self._described = _described(opened.layer)
        with contextlib.suppress(Exception):  # of its get_config; then no setting can be tried
            self._settings = {key: value for key, value in configuration(opened.layer).items() if type(value) is int}

    def settings(
        self,
        kind: np.ndarray,
        vectors: Sequence[np.ndarray],
        explained: Sequence[np.ndarray],
        taken: Mapping[str, np.ndarray],
    ) -> dict[str, np.ndarray] | None:
        """Returns the settings that say how many channels of a kind are kept; None if none do.

        Args:
            kind: The channels.
            vectors: The axes that have them.
            explained: The kinds of channels that settings say already, which are removed as well in the trials.
            taken: These settings.
        """
        if len(kind) == 1:
            return {}  # the only channel is never removed
        options: dict[str, np.ndarray] = {}
        for key, value in getattr(self, "_settings", {}).items():
            lengths = {len(each): each for each in (kind, *reversed(vectors))}
            axis = next(
                (lengths[value // times] for times in _TIMES if not value % times and value // times in lengths), None
            )
            if axis is not None and key not in taken:
                options[key] = axis
        masks = [self._mask((kind, *explained)), self._mask((kind,), most=True)]
        for keys in _subsets(list(options)[:_MOST_SETTINGS]):
            chosen = {key: options[key] for key in keys}
            if all(self._agrees({**taken, **chosen}, mask) for mask in masks):
                return chosen
        return None

    def _mask(self, kinds: Sequence[np.ndarray], most: bool = False) -> np.ndarray:
        """Returns a mask that removes every second channel of some kinds, or only the last one."""
        mask = np.ones(self._channels, bool)
        for kind in kinds:
            mask[kind[-1:] if most else kind[1::2]] = False
        return mask

    def _agrees(self, settings: Mapping[str, np.ndarray], mask: np.ndarray) -> bool:
        """Returns whether the layer with these settings computes what its parts compute without the masked channels.

        Layers that are alike are tried once.
        """
        changes = {key: scaled(self._settings[key], kept_positions(axis, mask)) for key, axis in settings.items()}
        parts = self._make_parts(mask)
        inputs = tuple(parts.kept_axes(tensor) for _, symbols in self._opened.calls for tensor in symbols)
        weights = tuple(parts.kept_part(variable) for variable in self._layer.variables)
        known = _tried.setdefault(type(self._layer), {})
        key = (self._described, tuple(changes.items()), inputs, weights)
        if key not in known:
            with random_state_kept(), default_policy(flat_layers(self._layer)[-1].dtype_policy):
                try:
                    known[key] = all(self._call_agrees(parts, changes, *call) for call in self._opened.calls)
                except Exception:  # of the layer's own code, at a width that it may not be for
                    known[key] = False
        return known[key]

    def _call_agrees(
        self, parts: Parts, changes: Mapping[str, int], node: Any, symbols: Sequence[keras.KerasTensor]
    ) -> bool:
        new = remade_layer(self._layer, {key: _to(value) for key, value in changes.items()})
        inputs = [parts.random_input(symbol) for symbol in symbols]
        values = {id(tensor): value for tensor, value in zip(node.input_tensors, inputs, strict=True)}
        arguments, named = node.arguments.fill_in(values)
        if takes_training(self._layer):
            named = {**named, "training": False}
        new(*arguments, **named)  # builds it
        weights = parts.weights(self._layer)
        if [tuple(each.shape) for each in new.variables] != [each.shape for each in weights]:
            return False
        for variable, value in zip(new.variables, weights, strict=True):
            variable.assign(value)
        found = keras.tree.flatten(new(*arguments, **named))
        dtype = self._layer.compute_dtype
        return all(alike(*pair, dtype) for pair in zip(found, parts.run(self._layer, node, inputs), strict=True))


def _described(layer: keras.Layer) -> tuple[Any, ...]:
    """Returns what may make a layer compute something else than another one of its class."""
    found: list[Any] = []
    for part in flat_layers(layer):
        plain = {
            key: value for key, value in vars(part).items() if isinstance(value, _PLAIN) or key.endswith("activation")
        }
        found.append((type(part), tuple((key, value) for key, value in plain.items() if not key.endswith(_NAMES))))
    return tuple(found)


def scaled(old: int, kept: np.ndarray) -> int:
    """Returns a setting that is a multiple of the number of kept positions of an axis."""
    return old * int(kept.sum()) // len(kept)


def _to(value: int) -> Callable[[Any], int]:
    return lambda old: value


def _subsets(keys: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yields sets of settings: none, then single ones, then larger sets."""
    return chain.from_iterable(combinations(keys, count) for count in range(len(keys) + 1))
