"""Data that users give: batches of inputs and labels in any of the usual forms.

`CriterionData` checks them and iterates over them, for criteria; `input_batches` iterates over inputs alone, for what
needs no labels. `examples_at_once` bounds the memory of gradients.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.graph import model_calls
from tfprune.reprs import short_repr

_ROWS = 64  # examples of a batch that is cut from arrays
_VALUES = 300_000_000  # outputs of layers, for examples whose gradients are computed at the same time
_EXPECTED = "expected batches (x, y), such as a tf.data.Dataset, or arrays (x, y)"


@dataclass(frozen=True, eq=False)
class CriterionData:
    """Batches of inputs and labels.

    Attributes:
        source: A `tf.data.Dataset`, `keras.utils.PyDataset`, list or other iterable that can be iterated over again, of
            batches `(x, y)` or of mappings with `images` and `labels`; or a tuple of two arrays `(x, y)`, which are cut
            into batches of 64 examples. If a model has several inputs or outputs, `x` and `y` are lists or dicts.

    Example:
        >>> data = CriterionData((tf.zeros([100, 2]), tf.zeros([100], tf.int64)))
        >>> [len(y) for x, y in data.batches()]
        [64, 36]
    """

    source: Any

    __repr__ = short_repr

    @classmethod
    def required(cls, data: Any, criterion: str) -> "CriterionData":
        """Returns the data of a criterion that needs some; raises `ConfigError` if there is none."""
        if data is None:
            raise ConfigError(f"criterion {criterion} looks at data: {_EXPECTED}, received none; give data=...")
        return data if isinstance(data, cls) else cls(data)

    def batches(self, limit: int | None = None, *, size: int | None = None) -> Iterator[tuple[Any, Any]]:
        """Iterates over the data.

        Args:
            limit: Stop after this many batches.
            size: The most examples of a batch. Arrays and larger batches are cut into as few batches as possible; each
                takes every n-th example, so that those of examples sorted by class have all classes. Default: batches
                stay as they are.

        Yields:
            Inputs and labels of a batch, tensors `[batch, ...]` in the structure that they came in.

        Raises:
            ConfigError: The data has another form, is endless, or is empty.
        """
        for x, y in self._batches(limit, size):
            if y is None:
                raise ConfigError("data: expected batches (x, y), received inputs without labels; add the labels")
            yield x, y

    def inputs(self, limit: int | None = None) -> Iterator[Any]:
        """Iterates over the inputs of each batch, as `batches` does, but labels may be None."""
        for x, _ in self._batches(limit):
            yield x

    def _batches(self, limit: int | None, size: int | None = None) -> Iterator[tuple[Any, Any]]:
        if limit is not None and limit < 1:
            raise ConfigError(f"batches: expected 1 or more, received {limit}")
        endless = isinstance(self.source, tf.data.Dataset) and self.source.cardinality() == tf.data.INFINITE_CARDINALITY
        if endless and limit is None:
            raise ConfigError("data: expected a finite dataset, received one that repeats for ever; give batches=")
        empty = True
        pairs = (part for batch in self._pairs(size) for part in _parts(_checked(*batch), size))
        for batch in islice(pairs, limit):
            yield batch
            empty = False
        if empty:
            raise ConfigError("data: expected at least one batch, received none")

    def _pairs(self, size: int | None) -> Iterator[tuple[Any, Any]]:
        if isinstance(self.source, tuple):
            yield from _slices(self.source, size)
            return
        for batch in self._elements():
            if isinstance(batch, Mapping) and {"images", "labels"} <= set(batch):
                yield batch["images"], batch["labels"]
            elif isinstance(batch, tuple | list) and len(batch) == 2:
                yield batch[0], batch[1]
            else:
                raise ConfigError(f"data: {_EXPECTED}, received batches that are {_shown(batch)}; map them to (x, y)")

    def _elements(self) -> Iterable[Any]:
        if isinstance(self.source, keras.utils.PyDataset):
            return (self.source[index] for index in range(self.source.num_batches))
        # An iterator is used up after the first pass; iterative pruning makes several.
        if isinstance(self.source, str | Mapping | Iterator) or not isinstance(self.source, Iterable):
            raise ConfigError(f"data: {_EXPECTED}, received {type(self.source).__name__}")
        return self.source


def _slices(arrays: tuple[Any, ...], size: int | None) -> Iterator[tuple[Any, Any]]:
    if len(arrays) != 2:
        raise ConfigError(f"data: {_EXPECTED}, received a tuple of {len(arrays)}")
    leaves = _leaves(arrays)
    if not all(getattr(leaf, "shape", ()) for leaf in leaves):
        raise ConfigError(f"data: {_EXPECTED}, received {_shown(arrays)}; put batches into a list")
    lengths = {len(leaf) for leaf in leaves}
    if len(lengths) != 1:
        raise ConfigError(f"data: expected as many labels as inputs, received arrays of {sorted(lengths)} rows")
    if size is not None:
        yield from _parts((arrays[0], arrays[1]), size)
        return
    for start in range(0, lengths.pop(), _ROWS):
        yield _rows((arrays[0], arrays[1]), slice(start, start + _ROWS))


def _parts(batch: tuple[Any, Any], size: int | None) -> Iterator[tuple[Any, Any]]:
    """Cuts a batch with more than `size` examples, see `CriterionData.batches`."""
    count = 1 if size is None else -(-len(_leaves(batch)[0]) // size)
    if count < 2:
        yield batch
        return
    for first in range(count):
        yield _rows(batch, slice(first, None, count))


def _rows(batch: tuple[Any, Any], rows: slice) -> tuple[Any, Any]:
    x, y = keras.tree.map_structure(lambda leaf: None if leaf is None else leaf[rows], batch)
    return x, y


def _checked(x: Any, y: Any) -> tuple[Any, Any]:
    x, y = keras.tree.map_structure(lambda leaf: None if leaf is None else tf.convert_to_tensor(leaf), (x, y))
    leaves = _leaves((x, y))
    if not all(leaf.shape.rank for leaf in leaves):
        raise ConfigError("data: expected batches, received single examples; use dataset.batch(64)")
    lengths = {len(leaf) for leaf in leaves}
    if len(lengths) != 1:
        raise ConfigError(f"data: expected as many labels as inputs, received batches of {sorted(lengths)} rows")
    return x, y


def _leaves(arrays: Any) -> list[Any]:
    """Returns all arrays, without labels that are None."""
    return [leaf for leaf in keras.tree.flatten(arrays) if leaf is not None]


def _shown(batch: Any) -> str:
    if isinstance(batch, tuple | list):
        return f"a {type(batch).__name__} of {len(batch)}"
    return f"mappings with {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else type(batch).__name__


def examples_at_once(model: keras.Model) -> int:
    """Returns for how many examples the gradients of a model are computed at the same time by default.

    They are as many as have 300 million values in the outputs of the model's layers, at least one. With these, GraSP
    takes about 5 GB of memory in double precision, and half of it in single precision; SNIP takes less. Sizes that the
    model leaves open count as 1.

    Args:
        model: A functional or sequential model.

    Returns:
        The number of examples.
    """
    shapes = [tensor.shape[1:] for call in model_calls(model) for tensor in call.outputs]
    return max(1, _VALUES // max(1, sum(math.prod(size or 1 for size in shape) for shape in shapes)))


def reject_unused_data(criterion: Any, data: Any) -> None:
    """Raises `ConfigError` if there is data for a criterion that never uses any."""
    if data is not None and getattr(criterion, "uses_data", "optional") == "never":
        raise ConfigError(f"data: expected none for criterion {criterion.name}, which uses none; leave data= out")


def input_batches(data: Any, setting: str = "recalibrate") -> Iterator[dict[str, Any]]:
    """Iterates over the inputs in some data.

    Args:
        data: A `tf.data.Dataset` or other iterable of batches: `(x, y)`, `x`, or mappings with `images`. Or arrays
            `(x, y)` or `x`, which are cut into batches of 64 examples.
        setting: The setting that the data was given for, for messages.

    Yields:
        Mappings with `images`, as `recalibrate_batch_norm` takes them.

    Raises:
        ConfigError: The data has another form, or is endless.
    """
    arrays = data if isinstance(data, tuple) and data and hasattr(data[0], "shape") else (data,)
    if hasattr(arrays[0], "shape"):
        images = arrays[0]
        for start in range(0, len(images), _ROWS):
            yield {"images": images[start : start + _ROWS]}
        return
    if not isinstance(data, Iterable) or isinstance(data, str | Mapping):
        raise ConfigError(
            f"{setting}: expected batches (x, y) or x, such as a tf.data.Dataset, or arrays, "
            f"received {type(data).__name__}"
        )
    if isinstance(data, tf.data.Dataset) and data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ConfigError(f"{setting}: expected a finite dataset, received one that repeats for ever; use .take(n)")
    for batch in data:
        yield {"images": _inputs(batch, setting)}


def _inputs(batch: Any, setting: str) -> Any:
    if isinstance(batch, Mapping):
        if "images" not in batch:
            raise ConfigError(f"{setting}: expected batches with 'images', received {', '.join(map(str, batch))}")
        return batch["images"]
    images = batch[0] if isinstance(batch, tuple | list) and len(batch) else batch
    if np.ndim(images) < 2:
        raise ConfigError(
            f"{setting}: expected batches of examples, received one of shape {np.shape(images)}; batch the data first"
        )
    return images
