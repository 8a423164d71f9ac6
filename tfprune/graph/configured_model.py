"""A model that its class makes from a configuration, in place of a copy of the model's graph.

The configuration is a proposal, see `model_widths`. Both models are compared: the layers of their graphs by class and
type of numbers, and their outputs on random inputs with the same random weights.
"""

from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import functional_graph
from tfprune.graph.layer_copies import alike, random_state_kept
from tfprune.graph.model_class import model_from
from tfprune.graph.model_widths import ModelWidths
from tfprune.graph.random_inputs import definite_shape, random_tensor
from tfprune.keras_private import TRAINING_STATE, flat_layers, input_structure

Pairs = list[tuple[Any, Any]]

_OPEN_SIZES = (8, 32, 64)
_PLAIN = (int, float, str, bytes, type(None))


def configured_model(
    model: keras.Model,
    config: Mapping[str, Any],
    copy: keras.Model,
    pairs: Sequence[tuple[keras.Variable, keras.Variable]],
    left_out: set[int],
) -> tuple[keras.Model, Pairs] | None:
    """Makes a model from a configuration, and compares it with a copy of the model's graph.

    Args:
        model: The model. It is not changed.
        config: A configuration of its class.
        copy: The copy. Its weights become random ones.
        pairs: The variables of the model's layers, with those of the copy.
        left_out: The `id`s of the operations that the copy lacks.

    Returns:
        The new model, whose weights are random, and the layers and models of both graphs, as pairs; None if the new
        model is another one than the copy.
    """
    try:
        with random_state_kept():
            new = model_from(model, config)
        parts = list(_matched(model, new, left_out))
    except Exception:  # of the code of the class, with settings that it may not be for
        return None
    variables = {
        id(old): other
        for one, two in parts
        if functional_graph(one) is None
        for old, other in zip(getattr(one, "variables", ()), getattr(two, "variables", ()), strict=True)
    }
    targets = {id(old): target for old, target in pairs}
    if variables.keys() != targets.keys():
        return None
    rng = np.random.default_rng(0)
    for variable, other in variables.items():
        target = targets[variable]
        if tuple(other.shape) != tuple(target.shape) or other.dtype != target.dtype:
            return None
        if keras.backend.is_float_dtype(target.dtype):
            value = _random_weight(rng, tuple(target.shape))
            target.assign(value)
            other.assign(value)
    return (new, parts) if _agree(copy, new) else None


def _matched(model: keras.Model, new: keras.Model, left_out: set[int]) -> Iterator[tuple[Any, Any]]:
    """Yields the operations of two graphs as pairs, and those of the models in them; fails if one is of another kind.

    Args:
        model: The one model.
        new: The other one.
        left_out: The `id`s of operations of the one that the other lacks.
    """
    operations = [each for each in functional_graph(model).operations if id(each) not in left_out]
    for one, two in zip(operations, functional_graph(new).operations, strict=True):
        if _kind(one) != _kind(two):
            raise ValueError(f"{one.name} is of another kind")
        yield one, two
        if functional_graph(one) is not None:
            yield from _matched(one, two, left_out)


def _kind(operation: keras.Operation) -> Any:
    """Returns the classes of an operation and of the layers in it, with the types of their numbers."""
    if not isinstance(operation, keras.Layer) or functional_graph(operation) is not None:
        return type(operation)
    return [(type(part), part.compute_dtype, part.variable_dtype) for part in flat_layers(operation)]


def _random_weight(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Returns random values that keep outputs from growing from layer to layer; of vectors, positive ones."""
    values = rng.random(shape, np.float32)
    if len(shape) < 2:
        return values + 0.5
    values -= 0.5  # in place: a table may be a third of a model
    values *= 2 * (3 / np.prod(shape[:-1])) ** 0.5
    return values


def _agree(copy: keras.Model, new: keras.Model) -> bool:
    """Returns whether two models return the same for random inputs."""
    for size in _OPEN_SIZES:  # a model may take images of some size only, or texts up to some length
        inputs = _random_inputs(copy, size)
        try:
            expected = keras.tree.flatten(copy(inputs, training=False))
        except Exception:  # of the layers of the model
            continue
        try:
            found = keras.tree.flatten(new(inputs, training=False))
        except Exception:  # of the layers of the model
            return False
        return len(found) == len(expected) and all(
            alike(*pair, new.compute_dtype) for pair in zip(found, expected, strict=True)
        )
    return False


def _random_inputs(model: keras.Model, size: int) -> Any:
    """Returns random inputs of a model, with a size for open axes."""
    rng = np.random.default_rng(0)

    def values(tensor: keras.KerasTensor) -> Any:
        return random_tensor(definite_shape(tensor.shape, open_size=size), tensor.dtype, rng)

    return keras.tree.map_structure(values, input_structure(functional_graph(model)))


def own_attributes(
    model: keras.Model, copy: keras.Model, new: keras.Model, widths: ModelWidths, counterparts: Mapping[int, Any]
) -> list[str]:
    """Returns the names of attributes of a model that its class does not make from the configuration.

    They were set later: a training step's teacher, what `compile` was given, a preprocessor in place of another one.

    Args:
        model: The model.
        copy: A copy of its graph, which has only the attributes that Keras gives to models.
        new: The model that was made from a configuration.
        widths: What was found out about the model.
        counterparts: The new object for each old one of the graph, by `id` of the old one.
    """
    kinds = (type(model), keras.Model)
    options = set.difference(*({*signature(kind.compile).parameters} for kind in kinds))
    first = {} if widths.first is None else vars(widths.first)

    def is_own(name: str, value: Any) -> bool:
        if name not in vars(new) or name in options or _holds_others(value, counterparts):
            return True
        other = first.get(name, value)
        return type(other) is not type(value) or (isinstance(value, _PLAIN) and value != other)

    stock = {*vars(copy), *TRAINING_STATE}
    return [name for name, value in vars(model).items() if name not in stock and is_own(name, value)]


def _holds_others(value: Any, counterparts: Mapping[int, Any]) -> bool:
    """Returns whether an attribute is or holds a layer that is not in the model's graph."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set):
        return any(_holds_others(each, counterparts) for each in value)
    return isinstance(value, keras.Layer) and id(value) not in counterparts
