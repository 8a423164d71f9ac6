"""What a criterion is."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Protocol, runtime_checkable

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.graph import ChannelGroups

DataUse = Literal["never", "optional", "always"]
_BATCH = 64
_EXPECTED = "expected batches (x, y), such as a tf.data.Dataset, or arrays (x, y)"


@runtime_checkable
class Criterion(Protocol):
    """Says how much each prunable unit of a model is worth.

    Attributes:
        name: Its name in the registry.
        uses_data: Whether it looks at data, see `DataUse`.
    """

    name: str
    uses_data: DataUse

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """One score for each prunable unit.

        Args:
            model: A functional or sequential model. It is not changed.
            groups: Its channel groups.
            data: Batches `(x, y)` or arrays, see `CriterionData`.

        Returns:
            Float64 `[groups.channels]`, higher is kept; NaN for units that the criterion cannot judge.
        """
        ...


"""Whether a criterion looks at data: never, where it is given some, or not without any."""


@dataclass(frozen=True, eq=False)
class CriterionData:
    """Batches of inputs and labels.

    Attributes:
        source: A `tf.data.Dataset`, `keras.utils.PyDataset`, list or other iterable that can be gone through again, of
            batches `(x, y)` or of mappings with `images` and `labels`; or a tuple of two arrays `(x, y)`, which are
            taken 64 examples at a time. Where a model has several inputs or outputs, `x` and `y` are lists or dicts.

    Example:
        >>> data = CriterionData((tf.zeros([100, 2]), tf.zeros([100], tf.int64)))
        >>> [len(y) for x, y in data.batches()]
        [64, 36]
    """

    source: Any

    @classmethod
    def required(cls, data: Any, criterion: str) -> "CriterionData":
        """The data for a criterion that needs some; `ConfigError` if there is none."""
        if data is None:
            raise ConfigError(f"criterion {criterion} looks at data: {_EXPECTED}, received none; give data=...")
        return data if isinstance(data, cls) else cls(data)

    def batches(self, limit: int | None = None) -> Iterator[tuple[Any, Any]]:
        """Goes through the data.

        Args:
            limit: Stop after so many batches.

        Yields:
            Inputs and labels of a batch, tensors `[batch, ...]` in the structure that they came in.

        Raises:
            ConfigError: The data is nothing of what is expected, endless, or empty.
        """
        for x, y in self._batches(limit):
            if y is None:
                raise ConfigError("data: expected batches (x, y), received inputs without labels; add the labels")
            yield x, y

    def inputs(self, limit: int | None = None) -> Iterator[Any]:
        """The inputs of each batch, as in `batches`, but that labels may be None."""
        for x, _ in self._batches(limit):
            yield x

    def _batches(self, limit: int | None) -> Iterator[tuple[Any, Any]]:
        if limit is not None and limit < 1:
            raise ConfigError(f"batches: expected 1 or more, received {limit}")
        endless = isinstance(self.source, tf.data.Dataset) and self.source.cardinality() == tf.data.INFINITE_CARDINALITY
        if endless and limit is None:
            raise ConfigError("data: expected a finite dataset, received one that repeats for ever; give batches=")
        empty = True
        for batch in islice(self._pairs(), limit):
            yield _checked(*batch)
            empty = False
        if empty:
            raise ConfigError("data: expected at least one batch, received none")

    def _pairs(self) -> Iterator[tuple[Any, Any]]:
        if isinstance(self.source, tuple):
            yield from _slices(self.source)
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
        # An iterator would be used up after the first pass; criteria of iterative pruning make several.
        if isinstance(self.source, str | Mapping | Iterator) or not isinstance(self.source, Iterable):
            raise ConfigError(f"data: {_EXPECTED}, received {type(self.source).__name__}")
        return self.source


def refuse_unused_data(criterion: Any, data: Any) -> None:
    """`ConfigError` if there are data for a criterion that never looks at any; objects that do not say may."""
    if data is not None and getattr(criterion, "uses_data", "optional") == "never":
        raise ConfigError(f"data: expected none for criterion {criterion.name}, which looks at none; leave data= out")


def _slices(arrays: tuple[Any, ...]) -> Iterator[tuple[Any, Any]]:
    if len(arrays) != 2:
        raise ConfigError(f"data: {_EXPECTED}, received a tuple of {len(arrays)}")
    leaves = _leaves(arrays)
    if not all(getattr(leaf, "shape", ()) for leaf in leaves):
        raise ConfigError(f"data: {_EXPECTED}, received {_shown(arrays)}; put batches into a list")
    lengths = {len(leaf) for leaf in leaves}
    if len(lengths) != 1:
        raise ConfigError(f"data: expected as many labels as inputs, received arrays of {sorted(lengths)} rows")
    for start in range(0, lengths.pop(), _BATCH):
        rows = slice(start, start + _BATCH)
        x, y = keras.tree.map_structure(lambda leaf, rows=rows: None if leaf is None else leaf[rows], arrays)
        yield x, y


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
    """All arrays, without labels that are None."""
    return [leaf for leaf in keras.tree.flatten(arrays) if leaf is not None]


def _shown(batch: Any) -> str:
    if isinstance(batch, tuple | list):
        return f"a {type(batch).__name__} of {len(batch)}"
    return f"mappings with {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else type(batch).__name__
