"""Inputs of a batch, held against those that a model takes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.arrays import Place, array_shape, checked_array, first_of
from tfprune.batches.source import Source
from tfprune.errors import ConfigError
from tfprune.graph.calls import functional_graph, model_calls
from tfprune.keras_private import input_structure, producer


class InputCheck:
    """Checks the inputs of batches, and gives them the structure and ranks that a model takes, as Keras does.

    An axis of size 1 at the end may be missing, or be there although the model takes none. Number formats are not
    changed: the model casts its inputs.

    Args:
        model: Any model; of one without a graph, only the numbers are checked. None: the same.
        setting: The setting that the data were given for, for messages.

    Attributes:
        names: Names of the inputs; none if there is no graph.
    """

    def __init__(self, model: keras.Model | None, setting: str = "data") -> None:
        graph = functional_graph(model)
        self._setting = setting
        self._structure = None if graph is None else input_structure(graph)
        self._tensors: list[Any] = [] if graph is None else list(graph.inputs)
        keys = list(self._structure) if isinstance(self._structure, Mapping) else []
        self._keys = keys or [tensor.name for tensor in self._tensors]
        self.names: tuple[str, ...] = tuple(self._keys)
        self._entries = {} if graph is None else _entries(model, self._tensors)

    def __call__(self, x: Any, place: Place | None = None) -> Any:
        """Returns the inputs of a batch as tensors; raises `ConfigError` unless the model takes them.

        Args:
            x: Arrays `[rows, ...]` in the structure of the model's inputs, or a dict by their names.
            place: Says where a value is, for messages.
        """
        if self._structure is None:
            return keras.tree.map_structure(lambda leaf: self._any(leaf, place), x)
        leaves = self._leaves(x)
        fitting = [self._fitting(leaf, tensor, place) for leaf, tensor in zip(leaves, self._tensors, strict=True)]
        if len(fitting) == 1 and not isinstance(self._structure, Mapping):
            return fitting[0]
        return keras.tree.pack_sequence_as(self._structure, fitting)

    def _any(self, leaf: Any, place: Place | None) -> tf.Tensor | None:
        return None if leaf is None else self._numbers(leaf, f"{self._setting}: inputs", place)

    def _leaves(self, x: Any) -> list[Any]:
        """Returns the inputs in the order of the model's."""
        if isinstance(x, Mapping):
            for names in (self._keys, [tensor.name for tensor in self._tensors]):
                if set(names) <= set(x):
                    ordered = [x[name] for name in names]
                    if not isinstance(self._structure, Mapping):
                        return ordered
                    return keras.tree.flatten(dict(zip(self._keys, ordered, strict=True)))
            lacking = next(name for name in self._keys if name not in x)
            raise self._other_inputs(f"{', '.join(map(str, x))[:200]}; add {lacking}")
        leaves = keras.tree.flatten(x)
        if len(leaves) != len(self._tensors):
            raise self._other_inputs(f"{len(leaves)} arrays")
        if isinstance(self._structure, Mapping) and self._keys != sorted(self._keys):
            raise self._other_inputs("arrays without names; give a dict")
        return leaves

    def _other_inputs(self, received: str) -> ConfigError:
        return ConfigError(
            f"{self._setting}: expected {len(self._tensors)} inputs ({', '.join(self._keys)}), received {received}; "
            "labels belong into a tuple (x, y), several inputs into a list or a dict of their names"
        )

    def _fitting(self, leaf: Any, tensor: Any, place: Place | None) -> tf.Tensor | None:
        """Returns an input, with the rank that the model takes."""
        name = f"{self._setting}: the input {tensor.name}"
        if leaf is None:
            if getattr(producer(tensor).operation, "optional", False):
                return None
            raise ConfigError(f"{name}: expected an array, received None; add it")
        shape, taken = array_shape(leaf) or (), tuple(tensor.shape)
        last = len(shape) == len(taken) + 1 and shape[-1] == 1
        missing = len(shape) == len(taken) - 1 and taken[-1] == 1
        actual = shape[:-1] if last else (*shape, 1) if missing else shape
        fits = all(size in (None, given) for size, given in zip(taken[1:], actual[1:], strict=False))
        if len(actual) != len(taken) or not fits:
            single = len(shape) == len(taken) - 1 and all(
                size in (None, given) for size, given in zip(taken[1:], shape, strict=True)
            )
            raise ConfigError(
                f"{name}: expected arrays of shape {batch_shape(taken)}, received {list(shape)}; give batches of "
                f"examples as the model takes them{', such as dataset.batch(64)' if single else ''}"
            )
        if tensor.dtype == "string":
            return tf.convert_to_tensor(leaf, tf.string)
        found = self._numbers(leaf, name, place, within=tensor.dtype, entries=self._entries.get(id(tensor)))
        return tf.squeeze(found, -1) if last else found[..., None] if missing else found

    def _numbers(
        self, leaf: Any, name: str, place: Place | None, *, within: str = "float32", entries: int | None = None
    ) -> tf.Tensor:
        kind = tf.as_dtype(within).as_numpy_dtype if keras.backend.is_float_dtype(within) else np.float32
        array = checked_array(leaf, name, within=kind, place=place)
        if entries is not None:
            check_range(array, entries, f"{name}, which an embedding reads", place)
        return tf.convert_to_tensor(leaf if tf.is_tensor(leaf) else array)


def _entries(model: Any, tensors: list[Any]) -> dict[int, int]:
    """Returns how many entries the embeddings have that read an input, by the `id` of the input."""
    read = {id(tensor) for tensor in tensors}
    found: dict[int, int] = {}
    for call in model_calls(model):
        if isinstance(call.layer, keras.layers.Embedding) and id(call.inputs[0]) in read:
            key = id(call.inputs[0])
            found[key] = min(call.layer.input_dim, found.get(key, call.layer.input_dim))
    return found


def check_range(array: np.ndarray, count: int, name: str, place: Place | None = None, *, whole: bool = False) -> None:
    """Raises `ConfigError` unless all numbers of an array are from 0 to below a count.

    Args:
        array: Real numbers.
        count: The count.
        name: What the array is, for messages.
        place: Says where a value is.
        whole: Whether fractions are refused, too.
    """
    bad = (array < 0) | (array >= count)
    if whole and array.dtype.kind not in "biu":
        bad |= array != np.floor(array)
    if not bad.any():
        return
    others, value, first = first_of(bad, array, place)
    raise ConfigError(
        f"{name}: expected whole numbers from 0 to {count - 1}, received {others:,} others, "
        f"{first}{'; count from 0' if value == count else ''}"
    )


def batch_shape(shape: Sequence[int | None]) -> str:
    """Returns the shape of a batch with words for sizes that are left open.

    Example:
        >>> batch_shape((None, 8, None, 3))
        '[examples, 8, any, 3]'
    """
    return f"[{', '.join(['examples', *('any' if size is None else str(size) for size in shape[1:])])}]"


def input_batches(model: keras.Model, data: Any, setting: str) -> Iterator[Any]:
    """Iterates over the inputs in some data, checked.

    Args:
        model: The model that is to take them.
        data: Arrays or batches, see `Source`; labels are not used.
        setting: The setting that the data was given for, for messages.

    Yields:
        Inputs of a batch, tensors in the structure that the model takes.

    Raises:
        ConfigError: The data have another form, are endless or empty, or the model does not take them.
    """
    check = InputCheck(model, setting)
    for batch in Source(data, setting, check.names).batches():
        yield check(batch.x, batch.place)
