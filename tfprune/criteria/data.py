"""Data of criteria: batches of inputs and labels in any of the usual forms, checked.

`examples_at_once` bounds the memory of gradients.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import keras

from tfprune.arguments import optional, whole_number
from tfprune.batches.inputs import InputCheck
from tfprune.batches.labels import LabelCheck
from tfprune.batches.source import EXPECTED, Batch, Source, parts_of_size, rows_of
from tfprune.errors import ConfigError
from tfprune.graph import model_calls
from tfprune.reprs import short_repr

_VALUES = 300_000_000  # outputs of layers, for examples whose gradients are computed at the same time


@dataclass(frozen=True, eq=False)
class CriterionData:
    """Batches of inputs and labels, checked.

    All numbers must be finite. With a model, its inputs are checked, too, and have its structure and ranks; with
    `for_loss`, labels are held against the loss.

    Attributes:
        source: A `tf.data.Dataset`, `keras.utils.PyDataset`, list or other iterable that can be iterated over again, of
            batches `(x, y)` or of mappings with `images` and `labels`; or a tuple of two arrays `(x, y)`, which are cut
            into batches of 64 examples. If a model has several inputs or outputs, `x` and `y` are lists or dicts.
        model: The model that takes the inputs. Default: not known.
        labels: Checks the labels of a batch. Default: they must be finite numbers.

    Example:
        >>> data = CriterionData((keras.ops.zeros([100, 2]), keras.ops.zeros([100], "int64")))
        >>> [len(y) for x, y in data.batches()]
        [64, 36]
    """

    source: Any
    model: keras.Model | None = None
    labels: LabelCheck | None = None

    __repr__ = short_repr

    @classmethod
    def required(cls, data: Any, criterion: str, model: keras.Model | None = None) -> "CriterionData":
        """Returns the data of a criterion that needs some; raises `ConfigError` if there is none.

        Args:
            data: The data, or None.
            criterion: Name of the criterion.
            model: The model that takes them, if it is known.
        """
        if data is None:
            raise ConfigError(f"criterion {criterion} looks at data: {EXPECTED}, received none; give data=...")
        return cls.of(data, model)

    @classmethod
    def of(cls, data: Any, model: keras.Model | None = None) -> "CriterionData":
        """Returns data of any form, for a model if it is known."""
        found = data if isinstance(data, cls) else cls(data)
        return found if model is None or found.model is model else replace(found, model=model)

    def for_loss(self, model: keras.Model, loss: Any) -> "CriterionData":
        """Returns the same data, checked for a model and for a loss, which is what `compile(loss=...)` takes."""
        return replace(self, model=model, labels=LabelCheck(model, loss))

    def batches(self, limit: int | None = None, *, size: int | None = None) -> Iterator[tuple[Any, Any]]:
        """Iterates over the data.

        Args:
            limit: Stop after this many batches.
            size: The most examples of a batch. Arrays and larger batches are cut into as few batches as possible; each
                takes every n-th example, so that those of examples sorted by class have all classes. Default: batches
                stay as they are.

        Yields:
            Inputs and labels of a batch, tensors `[batch, ...]`; inputs in the structure that the model takes or, if it
            is not known, that they came in, like labels.

        Raises:
            ConfigError: The data has another form, is endless, or is empty; inputs, labels or numbers do not fit.
        """
        yield from self._checked(limit, size, labels=True)

    def inputs(self, limit: int | None = None) -> Iterator[Any]:
        """Iterates over the inputs of each batch, as `batches` does, but labels are not looked at, and may be None."""
        for x, _ in self._checked(limit, None, labels=False):
            yield x

    def _checked(self, limit: int | None, size: int | None, *, labels: bool) -> Iterator[tuple[Any, Any]]:
        limit = optional(whole_number, "batches", limit)
        check = self._inputs
        check_labels = self.labels or LabelCheck(None, None)
        source = Source(self.source, inputs=check.names)
        found = source.batches(size=size, bounded=limit is not None and not isinstance(self.source, Iterator))
        parts = (part for batch in found for part in _parts(_complete(batch, check, check_labels, labels), size))
        yield from islice(parts, limit)

    @cached_property
    def _inputs(self) -> InputCheck:
        return InputCheck(self.model)


def _complete(batch: Batch, check: InputCheck, check_labels: LabelCheck, labels: bool) -> tuple[Any, Any]:
    """Returns checked inputs and labels of a batch."""
    x = check(batch.x, batch.place)
    if not labels:
        return x, None
    if batch.y is None:
        raise ConfigError(
            "data: expected batches (x, y), received inputs without labels; give a tuple (x, y): lists hold batches"
        )
    if batch.weighted:
        raise ConfigError(
            "data: expected batches (x, y), received weights of examples, too, a tuple of 3; leave them out"
        )
    return x, check_labels(batch.y, batch.place)


def _parts(batch: tuple[Any, Any], size: int | None) -> Iterator[tuple[Any, Any]]:
    """Cuts a batch with more than `size` examples, see `CriterionData.batches`."""
    rows = next(len(leaf) for leaf in keras.tree.flatten(batch) if leaf is not None)
    if size is None or rows <= size:
        yield batch
        return
    for part in parts_of_size(rows, size):
        yield rows_of(batch, part)


def examples_at_once(model: keras.Model) -> int:
    """Returns for how many examples the gradients of a model are computed at the same time by default.

    They are as many as have 300 million values in the outputs of the model's layers, at least one. With these, GraSP
    takes about 5 GB of memory in double precision, and half of it in single precision; SNIP takes less (measured for
    two ResNets: docs/measured.md). Sizes that the model leaves open count as 1.

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
