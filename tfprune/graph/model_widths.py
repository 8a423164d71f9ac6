"""Which configurations of models say the widths and depths of their pruned copies.

A class of models that makes its own layers, such as the backbones of KerasHub, makes smaller ones from other settings.
Which setting says which width is found by trying: the class makes a model with another value of one setting, without
memory for weights. The sizes that change are those that the setting is for; how they change gives the wanted value.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import keras

from tfprune.graph.calls import functional_graph
from tfprune.graph.layer_copies import random_state_kept, unbuilt
from tfprune.graph.model_class import graph_variables, has_own_class, is_saved_with_its_graph, model_from
from tfprune.keras_private import flat_layers, no_weights
from tfprune.reprs import short_repr

Shape = tuple[int, ...]
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class ModelWidths:
    """What was found out about one model.

    Attributes:
        config: The configuration of a model with the widths of the copy; None if there is none.
        changed: Attributes whose settings the copy has not: they are other ones, or differ from block to block.
        first: A model of the class as it is made from its present configuration, without weights; None if that fails.
    """

    config: Mapping[str, Any] | None = None
    changed: tuple[str, ...] = ()
    first: Any = None

    __repr__ = short_repr


def model_widths(model: keras.Model, shape: Callable[[keras.Variable], Shape | None]) -> dict[int, ModelWidths]:
    """Finds configurations of a model and of the models in it that are of a class of their own.

    Args:
        model: A functional or sequential model. It is not changed.
        shape: Gives the shape of a variable in the copy; None if the copy lacks it.

    Returns:
        What was found, by the `id` of the model. A configuration is a proposal: a model that is made from it must still
        be compared with the copy.
    """
    own = [each for each in flat_layers(model) if _has_configuration(each)]
    found: dict[int, ModelWidths] = {}
    for each in reversed(own):  # the inner ones first
        within = {id(part) for part in flat_layers(each)}
        nested = [(part, found[id(part)]) for part in own if part is not each and id(part) in within & found.keys()]
        found[id(each)] = _widths(each, shape, nested)
    return found


def _has_configuration(model: Any) -> bool:
    """Returns whether a model is of a class that makes its layers from settings."""
    own = isinstance(model, keras.Model) and has_own_class(model) and functional_graph(model) is not None
    return own and not is_saved_with_its_graph(model)


def _widths(
    model: keras.Model,
    shape: Callable[[keras.Variable], Shape | None],
    nested: Sequence[tuple[keras.Model, ModelWidths]],
) -> ModelWidths:
    try:
        config = unbuilt(model.get_config())
        changed = _with_nested(config, nested)
    except Exception:  # of the methods of the class
        return ModelWidths()
    trial = _Trial(model, [each for variable in graph_variables(model) if (each := shape(variable)) is not None])
    own = [tuple(variable.shape) for variable in graph_variables(model)]
    start = trial.shapes(config)
    if start is None:  # such as a class that compiles itself, and so makes an optimizer
        return ModelWidths(changed if changed != config or trial.targets == own else None)
    if start != own:
        return ModelWidths()
    found = trial.solved(changed)
    fits = trial.shapes(found) == trial.targets
    return ModelWidths(found if fits else None, trial.changed(model, config, found), trial.first)


def _with_nested(config: Mapping[str, Any], nested: Sequence[tuple[keras.Model, ModelWidths]]) -> dict[str, Any]:
    """Returns a configuration in which those of nested models are replaced by what was found for them."""
    own = [(type(model).__name__, unbuilt(model.get_config()), found.config) for model, found in nested]

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            for name, old, new in own:
                if new is not None and value.get("class_name") == name and value.get("config") == old:
                    return {**value, "config": new}
            return {key: replaced(each) for key, each in value.items()}
        return [replaced(each) for each in value] if isinstance(value, list) else value

    return {key: replaced(each) for key, each in config.items()}


class _Trial:
    """Makes models of a class without weights, and compares the shapes of these with those that are wanted.

    Attributes:
        targets: The shapes that are wanted.
        first: The first model that was made.
    """

    def __init__(self, model: keras.Model, targets: list[Shape]) -> None:
        self.targets = targets
        self.first: Any = None
        self._model = model
        self._known: dict[str, list[Shape] | None] = {}
        own = [tuple(variable.shape) for variable in graph_variables(model)]
        pairs = zip(own, targets, strict=True) if len(own) == len(targets) else ()
        self._changed = {old for before, after in pairs for old, new in zip(before, after, strict=True) if old != new}

    def shapes(self, config: Mapping[str, Any]) -> list[Shape] | None:
        """Returns the shapes of a model with a configuration; None if it cannot be made, or not without weights."""
        key = repr(config)
        if key not in self._known:
            try:
                with random_state_kept(), no_weights():
                    made = model_from(self._model, config)
                self.first = made if self.first is None else self.first
                self._known[key] = [tuple(variable.shape) for variable in graph_variables(made)]
            except Exception:  # of the code of the class, with values that it may not be for
                self._known[key] = None
        return self._known[key]

    def solved(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns a configuration with shapes that are nearer to those that are wanted, if possible equal."""
        places = [place for place, _ in numbers(config)]
        before: Mapping[str, Any] | None = None
        while before is not config:
            before = config
            for place in places:
                shapes = self.shapes(config)
                if shapes is None or shapes == self.targets:
                    return config
                value = self._value(config, place, shapes)
                other = config if value is None else with_value(config, place, value)
                new = self.shapes(other)
                if new is not None and self._distance(new) < self._distance(shapes):
                    config = other
        return config

    def changed(self, model: keras.Model, before: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, ...]:
        """Returns which attributes of a model are settings that have other values, or several.

        Args:
            model: The model.
            before: Its configuration.
            config: The configuration that is nearest to what is wanted.
        """
        held = [str(place[0]) for place, value in numbers(before) if len(place) == 1]
        return tuple(
            key
            for key in held
            if vars(model).get(key) == before[key] and (config[key] != before[key] or self._misses(config, key))
        )

    def _misses(self, config: Mapping[str, Any], key: str) -> bool:
        """Returns whether a setting is for sizes, or numbers of weights, that are not those that are wanted."""
        shapes = self.shapes(config)
        probe = None if shapes is None or shapes == self.targets else self._probed(config, (key,), shapes)
        if shapes is None or probe is None:
            return False
        if len(probe[1]) != len(shapes) or len(shapes) != len(self.targets):
            return len(shapes) != len(self.targets)
        return any(size != target for size, other, target in self._sizes(shapes, probe[1]) if size != other)

    def _probed(self, config: Mapping[str, Any], place: Place, shapes: list[Shape]) -> tuple[int, list[Shape]] | None:
        """Returns another value of a setting, and the shapes that it gives, which are other ones; None if none are."""
        value = _at(config, place)
        if not self._may_say(value):
            return None
        deeper = len(shapes) != len(self.targets)
        for other in (value - 1, value // 2) if deeper else (value * 2, value // 2, value - 1):
            probed = self.shapes(with_value(config, place, other))
            if probed is not None and probed != shapes:
                return other, probed
        return None

    def _may_say(self, value: int) -> bool:
        """Returns whether a setting of a value may be for a size that is cut: then one is a multiple of the other."""
        if len(self._changed) == 0:
            return value <= len(self.targets) + 1  # blocks are dropped
        return any(old % value == 0 or value % old == 0 for old in self._changed)

    def _value(self, config: Mapping[str, Any], place: Place, shapes: list[Shape]) -> int | None:
        """Returns the value of a setting with which all sizes that it is for are those that are wanted; None if none.

        Sizes and numbers of weights are taken to be linear in it.
        """
        found = self._probed(config, place, shapes)
        if found is None:
            return None
        (probe, probed), value = found, _at(config, place)
        if len(shapes) != len(self.targets):
            sizes = [(len(shapes), len(probed), len(self.targets))]
        elif len(shapes) == len(probed):
            sizes = list(self._sizes(shapes, probed))
        else:
            return None
        wanted = {
            value + (target - size) * (probe - value) / (other - size) for size, other, target in sizes if size != other
        }
        only = wanted.pop() if len(wanted) == 1 else 0.0
        return int(only) if only >= 1 and only == int(only) else None

    def _sizes(self, shapes: list[Shape], probed: list[Shape]) -> Iterator[tuple[int, int, int]]:
        """Yields each size, what it is in other shapes, and what is wanted."""
        for one, other, target in zip(shapes, probed, self.targets, strict=True):
            if len(one) == len(other) == len(target):
                yield from zip(one, other, target, strict=True)

    def _distance(self, shapes: list[Shape]) -> tuple[int, int]:
        apart = abs(len(shapes) - len(self.targets))
        if apart:
            return apart, 0
        pairs = zip(shapes, self.targets, strict=True)
        return 0, sum(one != other for shape, target in pairs for one, other in zip_longest(shape, target))


def numbers(value: Any, place: Place = ()) -> Iterator[tuple[Place, int]]:
    """Yields the whole numbers above 1 in a configuration, with their places."""
    if type(value) is int and value > 1:
        yield place, value
    for key, each in _entries(value):
        yield from numbers(each, (*place, key))


def _entries(value: Any) -> Sequence[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple) else ()


def _at(config: Any, place: Place) -> Any:
    for key in place:
        config = config[key]
    return config


def with_value(config: Any, place: Place, value: int) -> Any:
    """Returns a configuration with another value at a place."""
    if not place:
        return value
    key, *rest = place
    if isinstance(config, Mapping):
        return {**config, key: with_value(config[key], tuple(rest), value)}
    changed = (with_value(each, tuple(rest), value) if index == key else each for index, each in enumerate(config))
    return type(config)(changed)
