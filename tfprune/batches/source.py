"""The forms that data come in, read batch by batch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import keras
import tensorflow as tf

from tfprune.arrays import Place, array_shape, check_dense, place_in
from tfprune.errors import ConfigError
from tfprune.reprs import short_repr

ROWS = 64
"""Examples of a batch that is cut from arrays."""

EXPECTED = "expected batches (x, y), such as a tf.data.Dataset, or arrays (x, y)"
"""What data should be, for messages."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some examples, not checked yet but for their number.

    Attributes:
        x: Inputs, arrays `[rows, ...]` in any structure.
        y: Labels in any structure; None if there are none.
        rows: Number of examples, at least 1.
        place: Says where a value is, given its index in an array of this batch.
        weighted: Whether there were weights of examples, too, which are left out.
    """

    x: Any
    y: Any
    rows: int
    place: Place
    weighted: bool = False

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Source:
    """Data in any of the usual forms.

    These are arrays, namely `x`, a dict of arrays, a list of as many arrays as the model has inputs, or a tuple
    `(x, y)`; and whatever can be iterated over again, and yields batches `(x, y)`, `x`, or mappings with `images` and
    perhaps `labels`: a `tf.data.Dataset`, a `keras.utils.PyDataset`, a list, a `DataLoader` of PyTorch.

    Attributes:
        data: The data.
        setting: The setting that they were given for, for messages.
        inputs: Names of the model's inputs.
    """

    data: Any
    setting: str = "data"
    inputs: Sequence[str] = ()

    __repr__ = short_repr

    @property
    def arrays(self) -> tuple[Any, ...] | None:
        """The data as `(x, y)` or `(x, y, weights)`, with labels None if there are none; None if they are batches.

        Raises `ConfigError` if there are other things than arrays, or arrays of other lengths.
        """
        data = self.data
        several = isinstance(data, list) and len(self.inputs) > 1 and len(data) == len(self.inputs)
        if isinstance(data, tuple | Mapping) or array_shape(data) is not None:
            arrays = self._parts(data)
        elif several and all(array_shape(each) is not None for each in data):
            arrays = data, None
        else:
            return None
        self._rows(arrays, "arrays")
        return arrays

    def batches(self, *, size: int | None = None, bounded: bool = False, once: bool = False) -> Iterator[Batch]:
        """Iterates over the data.

        Args:
            size: The most examples of a batch that is cut from arrays: each of as few as possible takes every n-th
                example. Default: `ROWS` successive ones. Batches stay as they are.
            bounded: Whether the caller stops by itself, so that data may be endless.
            once: Whether data may be an iterator, which can be read only once and may be endless without saying so.

        Yields:
            The batches.

        Raises:
            ConfigError: The data have another form, are endless, used up by reading, or empty.
        """
        arrays = self.arrays
        found = self._cut(arrays, size) if arrays is not None else self._read(bounded, once or bounded)
        empty = True
        for batch in found:
            yield batch
            empty = False
        if empty:
            raise ConfigError(f"{self.setting}: expected at least one batch, received none; give at least one example")

    def _cut(self, arrays: tuple[Any, ...], size: int | None) -> Iterator[Batch]:
        """Cuts arrays into batches."""
        rows = self._rows(arrays, "arrays")
        successive = [slice(start, start + ROWS) for start in range(0, rows, ROWS)]
        for part in successive if size is None else parts_of_size(rows, size):
            chosen = range(rows)[part]
            x, y, *weights = rows_of(arrays, part)
            yield Batch(x, y, len(chosen), place_in(chosen), bool(weights))

    def _read(self, bounded: bool, once: bool) -> Iterator[Batch]:
        """Reads batches."""
        for number, element in enumerate(self._elements(bounded, once), start=1):
            parts = self._parts(element)
            rows = self._rows(parts, "batches")
            if not rows:
                raise ConfigError(f"{self.setting}: expected examples in each batch, received none in batch {number}")
            yield Batch(parts[0], parts[1], rows, place_in(range(rows), f" of batch {number}"), len(parts) > 2)

    def _elements(self, bounded: bool, once: bool) -> Iterable[Any]:
        data, setting = self.data, self.setting
        if isinstance(data, keras.utils.PyDataset):
            self._check_end(data.num_batches is None, bounded)
            return (data[index] for index in islice(count(), data.num_batches))
        if isinstance(data, str | bytes | type) or not isinstance(data, Iterable):
            raise ConfigError(f"{setting}: {EXPECTED}, received {type(data).__name__}")
        if isinstance(data, Iterator) and not once:
            raise ConfigError(
                f"{setting}: {EXPECTED}, received {type(data).__name__}, which can be read only once and may be "
                "endless; give a list of its batches"
            )
        if isinstance(data, tf.data.Dataset):
            self._check_end(data.cardinality() == tf.data.INFINITE_CARDINALITY, bounded)
        return data

    def _check_end(self, endless: bool, bounded: bool) -> None:
        if endless and not bounded:
            raise ConfigError(
                f"{self.setting}: expected a finite dataset, received one that repeats for ever; use .take(n), or give "
                "batches= where there is such a setting"
            )

    def _parts(self, batch: Any) -> tuple[Any, ...]:
        """Returns inputs, labels and perhaps weights of arrays or of a batch."""
        if isinstance(batch, Mapping):
            own = len(self.inputs) > 1 and set(self.inputs) <= set(batch)
            return (batch["images"], batch.get("labels")) if "images" in batch and not own else (batch, None)
        if isinstance(batch, tuple | list) and 1 <= len(batch) <= 3:
            return (*batch, None) if len(batch) == 1 else tuple(batch)
        if not isinstance(batch, tuple | list) and array_shape(batch) is not None:
            return batch, None
        named = f"a {type(batch).__name__} of {len(batch)}" if isinstance(batch, tuple | list) else type(batch).__name__
        raise ConfigError(f"{self.setting}: {EXPECTED}, received {named}; map them to (x, y)")

    def _rows(self, parts: tuple[Any, ...], what: str) -> int:
        """Returns the number of examples; raises `ConfigError` if arrays of other lengths, or none, are among them."""
        lengths: dict[int, None] = {}
        for leaf in keras.tree.flatten(parts):
            if leaf is None:
                continue
            check_dense(leaf, self.setting)
            shape = array_shape(leaf)
            if shape is None:
                raise ConfigError(
                    f"{self.setting}: {EXPECTED}, received {type(leaf).__name__} in place of an array; put batches "
                    "into a list, and numbers into arrays"
                )
            if not shape or shape[0] is None:
                raise ConfigError(f"{self.setting}: expected batches, received single examples; use dataset.batch(64)")
            lengths[int(shape[0])] = None
        if not lengths:
            raise ConfigError(f"{self.setting}: {EXPECTED}, received no array")
        if len(lengths) > 1:
            raise ConfigError(
                f"{self.setting}: expected as many labels as inputs, received {what} of {sorted(lengths)} rows"
            )
        return next(iter(lengths))


def parts_of_size(rows: int, size: int) -> list[slice]:
    """Returns as few parts of some rows as possible, each of every n-th row and of `size` at most.

    Example:
        >>> parts_of_size(5, 2)
        [slice(0, None, 3), slice(1, None, 3), slice(2, None, 3)]
    """
    count = -(-rows // size)
    return [slice(first, None, count) for first in range(count)]


def rows_of(arrays: Any, rows: Any) -> Any:
    """Returns some rows of all arrays in a structure, in which there may be None."""
    return keras.tree.map_structure(lambda leaf: None if leaf is None else leaf[rows], arrays)
