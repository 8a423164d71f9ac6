"""What a memory bank knows of the images of a batch."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfprune.data.knowledge import Knowledge
from tfprune.errors import ConfigError

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
