"""The weights that a layer and the layers in it hold, by the attributes that lead to them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfprune.keras_private import child_layers

_TRACKED = tf.Module(name="any")
_TRACKED.items = []  # now TensorFlow's tracking has added its attributes
_OWN = frozenset(vars(keras.layers.Layer(name="any"))) | (vars(_TRACKED).keys() - {"items"})


@dataclass(frozen=True)
class HeldWeight:
    """A weight of a layer, or of a layer in it.

    Attributes:
        path: The attributes that lead to it, such as `kernel`, `cell.recurrent_kernel`, `blocks.0.query_dense.kernel`.
        layer: The layer that holds it.
        attribute: The attribute of that layer.
        variable: The weight.
    """

    path: str
    layer: keras.Layer
    attribute: str
    variable: keras.Variable


def held_weights(layer: keras.Layer) -> list[HeldWeight]:
    """Lists the weights that a layer and all layers in it keep in attributes.

    Elements of lists and dictionaries are told apart by index or key. Layers of a model within the layer are its
    `layers`, by index. Public names are preferred to private ones of the same object.

    Args:
        layer: A layer, built.

    Returns:
        Each weight once, in the order in which the attributes were set.

    Example:
        >>> layer = keras.layers.SimpleRNN(2)
        >>> layer.build((None, 5, 3))
        >>> [each.path for each in held_weights(layer)]
        ['cell.kernel', 'cell.recurrent_kernel', 'cell.bias']
    """
    found: dict[int, HeldWeight] = {}
    _collect(layer, "", found, {id(layer)})
    return list(found.values())


def weight_at(layer: keras.Layer, path: str) -> keras.Variable | None:
    """Returns the weight at a path, see `HeldWeight`; None if there is none, or not yet.

    Args:
        layer: A layer.
        path: The attributes that lead to the weight.
    """
    found: Any = layer
    for part in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list | tuple):
            found = found[int(part)] if part.isdecimal() and int(part) < len(found) else None
        else:
            found = getattr(found, part, None)
    return found if isinstance(found, keras.Variable) else None


def _collect(layer: keras.Layer, prefix: str, found: dict[int, HeldWeight], seen: set[int]) -> None:
    inner = {id(each) for each in child_layers(layer)}
    for name, value in _attributes(layer):
        if isinstance(value, keras.Variable):
            found.setdefault(id(value), HeldWeight(prefix + name, layer, name, value))
        elif id(value) in inner and id(value) not in seen:
            seen.add(id(value))
            _collect(value, f"{prefix}{name}.", found, seen)


def _attributes(layer: keras.Layer) -> Iterator[tuple[str, Any]]:
    if isinstance(layer, keras.Model):
        yield from ((f"layers.{index}", each) for index, each in enumerate(layer.layers))
        return
    for name, value in list(vars(layer).items()):
        if name not in _OWN:
            public = name.lstrip("_")
            same = public.isidentifier() and getattr(type(layer), public, None) is not None
            yield from _leaves(public if same and getattr(layer, public, None) is value else name, value)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yields weights and layers in nested lists and dictionaries."""
    if isinstance(value, keras.Variable | keras.Layer):
        yield name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if isinstance(key, str) and "." not in key:
                yield from _leaves(f"{name}.{key}", each)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _leaves(f"{name}.{index}", each)
