"""Copies of objects that hold Keras' layers and variables, without the help of their configuration.

Keras copies a layer by its configuration, which not every class of a user gives completely. `duplicated` copies what
the objects hold instead: sub-layers, variables, metrics, optimizers and containers become new ones of the same values;
functions, classes and what never changes are shared.
"""

import inspect
import io
import pickle
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.keras_private import (
    TRACKED,
    DynamicBackend,
    flat_layers,
    functional_part,
    own_state,
    producer,
    renew_tracker,
)

_SHARED = (
    *(FunctionType, BuiltinFunctionType, ModuleType, type, inspect.Signature, tf.Tensor, tf.DType, tf.TypeSpec),
    *(
        keras.DTypePolicy,
        keras.Initializer,
        keras.Loss,
        keras.Regularizer,
        keras.constraints.Constraint,
        DynamicBackend,
    ),
)
_HOLDERS = (keras.Operation, keras.Metric)


def duplicated(value: Any, counterparts: Mapping[int, Any] | None = None, *, share_fixed: bool = False) -> Any:
    """Copies an object and everything in it that can change.

    Args:
        value: A layer, or anything that holds layers, variables and plain Python objects.
        counterparts: What to put instead of certain objects, by their `id`.
        share_fixed: Share layers and models that have nothing to train.

    Returns:
        The copy. A layer in it is built if the old one is. Optimizers in it are new. If it is a layer, it belongs to no
        graph.

    Raises:
        Exception: Something in it cannot be copied, such as an open file; of what class depends on the object.

    Example:
        >>> dense = keras.layers.Dense(2)
        >>> dense.build((None, 3))
        >>> copy = duplicated(dense)
        >>> copy.kernel is dense.kernel, bool(keras.ops.all(copy.kernel == dense.kernel))
        (False, True)
    """
    holders: list[Any] = []

    def bare(kind: Any) -> Any:
        holders.append(kind.__new__(kind))  # without a call of its constructor
        return holders[-1]

    buffer = io.BytesIO()
    writer = _Writer(buffer, value, counterparts or {}, bare, share_fixed)
    writer.dump(value)
    buffer.seek(0)
    new = _Reader(buffer, writer.shared).load()
    for each in holders:
        renew_tracker(each)
    return new


class _Writer(pickle.Pickler):
    """Writes objects as Python does, but those of Keras by what they hold, and what is shared by its number."""

    def __init__(
        self,
        file: io.BytesIO,
        root: Any,
        counterparts: Mapping[int, Any],
        bare: Callable[[Any], Any],
        share_fixed: bool,
    ) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.shared: list[Any] = []
        self._root, self._counterparts, self._bare, self._share_fixed = root, counterparts, bare, share_fixed
        self._within = _parts(root) if isinstance(root, keras.Layer) else None

    def persistent_id(self, value: Any) -> int | None:
        """Returns the number of what is shared; None for what is written."""
        other = self._counterparts.get(id(value))
        if other is None and not isinstance(value, _SHARED) and not (self._share_fixed and self._is_fixed(value)):
            return None
        self.shared.append(value if other is None else other)
        return len(self.shared) - 1

    def _is_fixed(self, value: Any) -> bool:
        """Returns whether this is a layer with nothing to train, which has nothing to do with the counterparts."""
        if not isinstance(value, keras.Layer) or not value.built or value.trainable_variables:
            return False
        return self._counterparts.keys().isdisjoint(_parts(value))

    def reducer_override(self, value: Any) -> Any:
        """Returns how to make an object of Keras or TensorFlow again, in the form of `object.__reduce__`."""
        if isinstance(value, keras.Variable):
            settings = {"dtype": value.dtype, "trainable": value.trainable, "name": value.name}
            settings |= {"aggregation": value.aggregation, "synchronization": value.synchronization}
            return _variable, (np.asarray(value), settings), own_state(value)
        if isinstance(value, tf.Variable):
            return _tensorflow_variable, (value.numpy(), value.trainable, value.name.partition(":")[0])
        if isinstance(value, keras.KerasTensor) and id(producer(value).operation) in self._counterparts:
            raise TypeError("it holds symbolic tensors of a graph that has been copied")
        if isinstance(value, keras.Optimizer):
            return type(value).from_config, (value.get_config(),)
        if isinstance(value, TRACKED):
            plain = next(kind for kind in (list, dict, set) if isinstance(value, kind))
            return type(value), (plain(value),)
        if not isinstance(value, _HOLDERS):
            return NotImplemented
        if self._within is not None and isinstance(value, keras.Layer) and id(value) not in self._within:
            raise TypeError(f"it refers to {value.name}, which is not a part of it")
        return self._bare, (type(value),), own_state(value, calls=value is not self._root)


class _Reader(pickle.Unpickler):
    """Reads what a writer wrote."""

    def __init__(self, file: io.BytesIO, shared: list[Any]) -> None:
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, number: int) -> Any:
        """Returns what is shared."""
        return self._shared[number]


def _parts(layer: keras.Layer) -> set[int]:
    """Returns the `id`s of a layer, the layers within it, and those of models within it."""
    found = {id(each): each for each in flat_layers(layer)}
    for each in list(found.values()):
        graph = functional_part(each)
        found.update((id(operation), operation) for operation in getattr(graph, "operations", ()))
        found[id(graph)] = graph
    return set(found)


def _variable(value: Any, settings: Mapping[str, Any]) -> keras.Variable:
    return keras.Variable(value, **settings)


def _tensorflow_variable(value: Any, trainable: bool, name: str) -> tf.Variable:
    return tf.Variable(value, trainable=trainable, name=name)
