"""The rows of a memory bank that belong to the training images: what a batch is given of them.

A memory bank holds the logits of several teachers for every training image. `Knowledge` is what training needs of one:
an array `[train, classes, teachers]`, in memory, memory-mapped or in several files (`ShardedRows`).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError

_Batch = dict[str, tf.Tensor]


class Knowledge(Protocol):
    """Rows `[train, classes, teachers]` that belong to the training images: an array or `ShardedRows`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(train, classes, teachers)`."""

    def __getitem__(self, positions: np.ndarray, /) -> np.ndarray:
        """Returns the rows `[batch, classes, teachers]` of images at positions `[batch]`."""


def knowledge_rows(knowledge: Knowledge, count: int) -> Callable[[tf.Tensor, _Batch], _Batch]:
    """Returns a function that adds the rows of a memory bank to batches.

    Args:
        knowledge: `[train, classes, teachers]`, float; only the rows of each batch are read.
        count: Images in each batch.

    Returns:
        From positions `[count]` and a batch to the batch with `"knowledge": [count, classes, teachers] float32`.
    """

    def read(positions: np.ndarray) -> np.ndarray:
        return np.asarray(knowledge[positions], np.float32)

    def add(positions: tf.Tensor, batch: _Batch) -> _Batch:
        rows = tf.numpy_function(read, [positions], tf.float32, stateful=False)
        return batch | {"knowledge": tf.ensure_shape(rows, [count, *knowledge.shape[1:]])}

    return add


def check_knowledge(knowledge: Knowledge, expected: tuple[int, int], name: str) -> None:
    """Raises ConfigError unless a memory bank has the images and classes of a data set."""
    if len(knowledge.shape) != 3 or knowledge.shape[:2] != expected:
        raise ConfigError(
            f"expected knowledge of shape [{expected[0]}, {expected[1]}, teachers] for {name}, received "
            f"{list(knowledge.shape)}; build the memory bank from the same data set"
        )


class ShardedRows:
    """One array whose rows are divided among several, such as memory-mapped files; reads only requested rows.

    Args:
        shards: Arrays of rows, memory-mapped as a rule: all of one length, except that the last may be shorter.

    Raises:
        ValueError: Their shapes or types differ.

    Example:
        >>> rows = ShardedRows([np.zeros((2, 3)), np.ones((1, 3))])
        >>> rows.shape, rows[np.array([2, 0])][:, 0].tolist()
        ((3, 3), [1.0, 0.0])
    """

    def __init__(self, shards: Sequence[np.ndarray]) -> None:
        self._shards = list(shards)
        first = self._shards[0]
        self._length = max(len(first), 1)
        lengths = [len(shard) for shard in self._shards]
        kinds = {(shard.shape[1:], shard.dtype) for shard in self._shards}
        if len(kinds) > 1 or any(length != self._length for length in lengths[:-1]) or lengths[-1] > self._length:
            raise ValueError(
                f"expected shards of one kind and length, received {[each.shape for each in self._shards]}"
            )
        self.dtype = first.dtype
        self._shape = (sum(lengths), *first.shape[1:])

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and the shape of one row."""
        return self._shape

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """Returns rows in the order of their positions.

        Args:
            positions: `[rows]`, integers from 0.

        Returns:
            `[rows, ...]`, in memory.

        Raises:
            IndexError: A position is out of range.
        """
        positions = np.asarray(positions)
        if positions.size and not 0 <= positions.min() <= positions.max() < len(self):
            raise IndexError(
                f"expected positions from 0 to {len(self) - 1}, received {positions.min()}..{positions.max()}"
            )
        rows = np.empty((len(positions), *self._shape[1:]), self.dtype)
        numbers, places = np.divmod(positions, self._length)
        for number in np.unique(numbers):
            here = numbers == number
            rows[here] = self._shards[number][places[here]]
        return rows
