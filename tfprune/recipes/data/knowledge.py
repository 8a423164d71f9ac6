"""Memory banks: the logits of several teachers for every training image.

Training reads of a memory bank only the rows of the images in a batch. `Knowledge` is the interface, an array
`[train, classes, teachers]`, in memory or memory-mapped. `ShardedRows` is such an array that is divided among files.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tfprune.errors import ConfigError
from tfprune.reprs import described


class Knowledge(Protocol):
    """Rows `[train, classes, teachers]` that belong to the training images: an array or `ShardedRows`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(train, classes, teachers)`."""

    def __getitem__(self, positions: np.ndarray, /) -> np.ndarray:
        """Returns the rows `[batch, classes, teachers]` of images at positions `[batch]`."""


class ShardedRows:
    """An array whose rows are divided among several arrays, such as memory-mapped files; reads only requested rows.

    Args:
        shards: Arrays of rows, of one length except for the last, which may be shorter.

    Raises:
        ConfigError: There are none, or their shapes or types differ.

    Example:
        >>> rows = ShardedRows([np.zeros((2, 3)), np.ones((1, 3))])
        >>> rows.shape, rows[np.array([2, 0])][:, 0].tolist()
        ((3, 3), [1.0, 0.0])
    """

    def __init__(self, shards: Sequence[np.ndarray]) -> None:
        several = isinstance(shards, Sequence) and not isinstance(shards, str | bytes)
        if not several or not shards or not all(isinstance(each, np.ndarray) and each.ndim for each in shards):
            raise ConfigError(f"shards: expected a list of arrays, at least one, received {described(shards)}")
        self._shards = list(shards)
        first = self._shards[0]
        self._length = max(len(first), 1)
        lengths = [len(shard) for shard in self._shards]
        kinds = {(shard.shape[1:], shard.dtype) for shard in self._shards}
        if len(kinds) > 1 or any(length != self._length for length in lengths[:-1]) or lengths[-1] > self._length:
            raise ConfigError(
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
