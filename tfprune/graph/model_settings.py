"""Models whose class makes their layers: copies without some blocks, made by the class from other settings.

A copy that was made layer by layer is saved as a plain model, and methods of its class may not know that it has fewer
layers. Where a setting says how many there are, the class is given another number. What it makes is compared with the
copy, so a wrong guess never passes.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice, product
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import functional_graph
from tfprune.graph.layer_copies import random_state_kept
from tfprune.graph.model_class import has_own_class, is_saved_with_its_graph, model_from
from tfprune.graph.model_widths import Place, numbers, with_value
from tfprune.graph.random_inputs import definite_shape, random_tensor
from tfprune.graph.rebuild import compile_alike
from tfprune.keras_private import TRAINING_STATE, flat_layers, input_structure, no_weights

_WORDS = re.compile("layer|depth|block|stage|repeat")
_TRIES = 100


def remade_without(model: keras.Model, small: keras.Model, dropped: Sequence[str]) -> keras.Model | None:
    """Makes a copy of a model without some blocks by its class.

    Args:
        model: The whole model. It is not changed.
        small: A copy without the blocks.
        dropped: The names of the blocks, which end in numbers.

    Returns:
        A model of the class of the whole one, with the weights of the copy, compiled as it is; None if the class does
        not make its layers itself, or no setting gives the copy, or attributes were set that its constructor does not.
    """
    if not has_own_class(model) or is_saved_with_its_graph(model):
        return None
    shapes = _shapes(small)
    try:
        config = model.get_config()
    except Exception:  # any error of the user's method
        return None
    for changes in islice(_changes(config, dropped), _TRIES):
        other = config
        for place, value in changes.items():
            other = with_value(other, place, value)
        if _made(model, other, bare=True) in (shapes, None):  # a class may do what needs values
            new = _made(model, other, bare=False)
            if new is not None and _shapes(new) == shapes and _is_like(model, small, new):
                return new
    return None


def _changes(config: Any, dropped: Sequence[str]) -> Iterator[dict[Place, int]]:
    """Yields new values of settings by their place: each kind of block is counted by one of them."""
    counts: dict[str, int] = {}
    for name in dropped:
        stem = re.sub(r"\d+(?=\D*$)", "", name)
        counts[stem] = counts.get(stem, 0) + 1
    places = {place: value for place, value in numbers(config) if _may_count_blocks(place)}
    for chosen in product(places, repeat=len(counts)):
        changes: dict[Place, int] = {}
        for place, count in zip(chosen, counts.values(), strict=True):
            value = places[place] - count
            if value < 1 or changes.setdefault(place, value) != value:
                break
        else:
            yield changes


def _may_count_blocks(place: Place) -> bool:
    """Returns whether the innermost name of a setting is one for numbers of blocks."""
    names = [each for each in place if isinstance(each, str)]
    return bool(names) and bool(_WORDS.search(names[-1]))


def _made(model: keras.Model, config: Any, *, bare: bool) -> Any:
    """Returns what the class of a model makes of settings, or the shapes of its variables; None if it fails."""
    try:
        with random_state_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not bare:
                return model_from(model, config)
            with no_weights():
                return _shapes(model_from(model, config))
    except Exception:  # any error of the user's methods
        return None


def _shapes(model: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(variable.shape) for variable in model.variables]


def _is_like(model: keras.Model, small: keras.Model, new: keras.Model) -> bool:
    """Gives a new model the weights and the attributes of a copy, and returns whether it computes the same."""
    if set(vars(model)) - set(vars(new)) - set(TRAINING_STATE):
        return False
    for name, value in vars(small).items():
        fixed = isinstance(value, keras.Layer) and not value.trainable_variables and value not in small.layers
        if fixed and name in vars(new):
            setattr(new, name, value)  # such as a tokenizer, whose vocabulary is no setting
    for old, target in zip(small.variables, new.variables, strict=True):
        target.assign(old)
    parts = flat_layers(small), flat_layers(new)
    if len(parts[0]) == len(parts[1]):
        for one, other in zip(*parts, strict=True):
            other.trainable = one.trainable
    elif not all(each.trainable for each in parts[0]):
        return False
    rng = np.random.default_rng(0)
    inputs = [random_tensor(definite_shape(each.shape), each.dtype, rng) for each in functional_graph(small).inputs]
    try:
        x = keras.tree.pack_sequence_as(input_structure(functional_graph(small)), inputs)
        found = [keras.tree.flatten(each(x, training=False)) for each in (small, new)]
        alike = all(np.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in zip(*found, strict=True))
    except Exception:  # these values may mean nothing to a layer
        return False
    if alike and small.compiled:
        compile_alike(small, new)
        for one, other in zip(_state(small), _state(new), strict=True):
            other.assign(one)
    return alike


def _state(model: keras.Model) -> Sequence[keras.Variable]:
    """Returns the variables of a compiled model's optimizer."""
    return () if model.optimizer is None else model.optimizer.variables
