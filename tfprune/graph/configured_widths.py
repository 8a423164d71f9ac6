"""Which settings of an opened layer say the widths of what is within it.

A block of a transformer is made again from its configuration, at other widths. Which setting says which width is found
by trying: a setting may be it if it has the width as its value, and it is if the new block has the weights that remain,
and computes what the layers within it compute when each is made again smaller. So a wrong guess cannot pass.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np

from tfprune.errors import UnsupportedLayerError
from tfprune.graph.calls import OpenedLayer
from tfprune.graph.labels import PINNED, LayerChannels, kept_positions
from tfprune.graph.layer_copies import (
    alike,
    configuration,
    default_policy,
    random_state_kept,
    remade_layer,
    why_not_remade,
)
from tfprune.graph.layer_parts import Parts
from tfprune.keras_private import built_shapes, flat_layers, inference_arguments, tensors_in
from tfprune.reprs import short_repr

_MOST_SETTINGS = 6
_TIMES = (1, 2, 3, 4)  # Gemma's width of the MLP is half of what its setting says
_PLAIN = (int, float, str, bytes, type(None))
_NAMES = ("name", "path")
_tried: "WeakKeyDictionary[type, dict[Any, bool]]" = WeakKeyDictionary()
_effects: "WeakKeyDictionary[type, dict[Any, dict[str, set[tuple[int, int]]]]]" = WeakKeyDictionary()


@dataclass(frozen=True)
class ConfiguredWidths:
    """What was found out about one opened layer.

    Attributes:
        settings: The channel numbers along an axis, of whose kept positions the value is a multiple, by setting.
        unexplained: Prunable channels within the layer that cannot be removed, as no setting says their number.
        ties: Lists of channels of which the first ones go together, the second ones, and so on, as one setting says the
            number of each.
    """

    settings: Mapping[str, np.ndarray] = field(default_factory=dict)
    unexplained: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    ties: Sequence[Sequence[np.ndarray]] = ()

    __repr__ = short_repr


MakeParts = Callable[[np.ndarray], Parts]


def configured_widths(
    opened: OpenedLayer, within: Sequence[LayerChannels], make_parts: MakeParts, channels: int, *, tied: bool = False
) -> ConfiguredWidths:
    """Finds which settings of a layer say the widths of what is within it.

    Args:
        opened: An opened layer that the model calls itself.
        within: Where the channels of the model are in the layers and operations within it.
        make_parts: Gives what runs the layers within it at other widths, for a mask of the channels.
        channels: Number of prunable channels of the model.
        tied: Whether channels may be removed together because one setting says the number of several kinds.
    """
    noted = [slot.channels for each in within for slot in each.slots]
    noted += [axis for each in within for edit in each.edits for axis in edit.axes if axis is not None]
    vectors = _distinct(noted)
    trial = _Trial(opened, make_parts, channels)
    settings: dict[str, np.ndarray] = {}
    explained: list[np.ndarray] = []
    unexplained: list[np.ndarray] = []
    ties: list[list[np.ndarray]] = []
    kinds = [[kind] for kind in _kinds(vectors)]
    while kinds:
        together = kinds.pop(0)
        axes = [vector for vector in vectors if np.isin(together[0], vector).all()]
        found = trial.settings(together, axes, explained, settings)
        if found is not None:
            explained.extend(together)
            settings |= found
            ties.extend([together] if len(together) > 1 else [])
        else:
            unexplained.extend(together)
        if not kinds and tied:
            sizes = Counter(map(len, unexplained))
            kinds = [[kind for kind in unexplained if len(kind) == size] for size in sizes if sizes[size] > 1]
            unexplained = [kind for kind in unexplained if sizes[len(kind)] == 1]
            tied = False
    return ConfiguredWidths(settings, np.concatenate(unexplained) if unexplained else np.zeros(0, int), ties)


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
        self._resized = _effects.setdefault(type(opened.layer), {}).setdefault(self._described, {})
        with contextlib.suppress(Exception):  # of its get_config; then no setting can be tried
            _find_arguments(opened)
            self._settings = {key: value for key, value in configuration(opened.layer).items() if type(value) is int}

    def settings(
        self,
        kinds: Sequence[np.ndarray],
        vectors: Sequence[np.ndarray],
        explained: Sequence[np.ndarray],
        taken: Mapping[str, np.ndarray],
    ) -> dict[str, np.ndarray] | None:
        """Returns the settings that say how many channels of a kind are kept; None if none do.

        Args:
            kinds: The channels; if of several kinds, as many of each are removed.
            vectors: The axes that have those of the first kind.
            explained: The kinds of channels that settings say already, which are removed as well in the trials.
            taken: These settings.
        """
        kind = kinds[0]
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
        masks = [self._mask((*kinds, *explained)), self._mask(kinds, most=True)]
        for keys in _subsets(self._likely(options, kinds)[:_MOST_SETTINGS]):
            chosen = {key: options[key] for key in keys}
            if all(self._agrees({**taken, **chosen}, mask) for mask in masks):
                return chosen
        return None

    def _likely(self, options: Mapping[str, np.ndarray], kinds: Sequence[np.ndarray]) -> list[str]:
        """Returns the settings that resize nothing but axes of weights with some channels; last those that resize none.

        Args:
            options: The settings.
            kinds: The channels.
        """
        whole = [tuple(variable.shape) for variable in self._layer.variables]
        smaller = [each.shape for each in self._make_parts(self._mask(kinds)).weights(self._layer)]
        meant = _resized(whole, smaller)
        for key in options.keys() - self._resized.keys():
            self._resized[key] = self._effect(key, whole)
        found = {key: self._resized[key] for key in options}
        likely = [key for key, resized in found.items() if resized <= meant]
        return sorted(likely, key=lambda key: not found[key])

    def _effect(self, key: str, whole: Sequence[tuple[int, ...]]) -> set[tuple[int, int]]:
        """Returns the axes of weights that a setting resizes; none if the layer cannot be made with half its value."""
        node, symbols = self._opened.calls[0]
        change = {key: max(1, self._settings[key] // 2)}
        try:
            with random_state_kept():
                shapes = self._shapes(change, node, symbols, lambda tensor: tensor.shape)
        except Exception:  # of the layer's own code
            return set()
        return _resized(whole, shapes) if len(shapes) == len(whole) else set()

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
        weights = parts.weights(self._layer)
        shapes = self._shapes(changes, node, symbols, parts.kept_shape)
        if len(shapes) == len(weights) and shapes != [each.shape for each in weights]:
            return False  # quickly
        new = remade_layer(self._layer, {key: _to(value) for key, value in changes.items()})
        inputs = [parts.random_input(symbol) for symbol in symbols]
        values = {id(tensor): value for tensor, value in zip(node.input_tensors, inputs, strict=True)}
        arguments, named = inference_arguments(node, values)
        new(*arguments, **named)  # builds it
        if [tuple(each.shape) for each in new.variables] != [each.shape for each in weights]:
            return False
        for variable, value in zip(new.variables, weights, strict=True):
            variable.assign(value)
        found = tensors_in(new(*arguments, **named))
        dtype = self._layer.compute_dtype
        return all(alike(*pair, dtype) for pair in zip(found, parts.run(self._layer, node, inputs), strict=True))

    def _shapes(
        self,
        changes: Mapping[str, int],
        node: Any,
        symbols: Sequence[keras.KerasTensor],
        shape: Callable[[keras.KerasTensor], Sequence[int | None]],
    ) -> list[tuple[int, ...]]:
        """Returns the shapes of the weights that the layer would have with other settings, see `built_shapes`.

        Args:
            changes: The settings.
            node: Keras' record of a call.
            symbols: The symbolic tensors that it takes.
            shape: Gives the shape of what takes the place of one of them.
        """
        inputs = [keras.KerasTensor(shape(symbol), symbol.dtype) for symbol in symbols]
        arguments, named = node.arguments.fill_in(dict(zip(map(id, node.input_tensors), inputs, strict=True)))
        with random_state_kept(), default_policy(flat_layers(self._layer)[-1].dtype_policy):
            new = remade_layer(self._layer, {key: _to(value) for key, value in changes.items()})
            return built_shapes(new, *arguments, **named)


def _find_arguments(opened: OpenedLayer) -> None:
    """Finds out what a constructor takes that refuses a layer's configuration."""
    with random_state_kept(), default_policy(flat_layers(opened.layer)[-1].dtype_policy):
        try:
            remade_layer(opened.layer)
        except UnsupportedLayerError:
            why_not_remade(opened.layer, opened.calls[0][0])


def _resized(before: Sequence[tuple[int, ...]], after: Sequence[tuple[int, ...]]) -> set[tuple[int, int]]:
    """Returns the axes of weights that two lists of shapes differ in, as `(number of the weight, axis)`."""
    return {
        (number, axis)
        for number, (old, new) in enumerate(zip(before, after, strict=True))
        for axis in range(len(old))
        if len(old) != len(new) or old[axis] != new[axis]
    }


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
