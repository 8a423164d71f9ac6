"""What a memory bank knows of the images of a batch."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.recipes.data.dataset import Knowledge

_Batch = dict[str, tf.Tensor]


def knowledge_rows(knowledge: Knowledge, batch_size: int) -> Callable[[tf.Tensor, _Batch], _Batch]:
    """Makes the function that adds the rows of a memory bank to batches.

    Args:
        knowledge: `[train, classes, teachers]`, float; only the rows of each batch are read.
        batch_size: Images per batch.

    Returns:
        From positions `[batch]` and a batch to the batch with `"knowledge": [batch, classes, teachers] float32`.
    """

    def read(positions: np.ndarray) -> np.ndarray:
        return np.asarray(knowledge[positions], np.float32)

    def add(positions: tf.Tensor, batch: _Batch) -> _Batch:
        rows = tf.numpy_function(read, [positions], tf.float32, stateful=False)
        return batch | {"knowledge": tf.ensure_shape(rows, [batch_size, *knowledge.shape[1:]])}

    return add


def check_knowledge(knowledge: Knowledge | None, expected: tuple[int, int], name: str) -> None:
    """Raises a `ConfigError` unless a memory bank, if there is one, has the rows and classes of a data set."""
    if knowledge is not None and (len(knowledge.shape) != 3 or knowledge.shape[:2] != expected):
        raise ConfigError(
            f"expected knowledge of shape [{expected[0]}, {expected[1]}, teachers] for {name}, received "
            f"{list(knowledge.shape)}; build the memory bank from the same data set"
        )


class ShardedRows:
    """One array over files of its rows; only the rows that are asked for are read.

    Args:
        shards: The rows, memory-mapped as a rule: all of one length, of which the last one may fall short.

    Raises:
        ValueError: Their shapes do not go together.

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
        """Rows of all shards, and what one row is like."""
        return self._shape

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """Rows in the order of their positions.

        Args:
            positions: `[rows]`, integers from 0.

        Returns:
            `[rows, ...]`, in memory.
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
