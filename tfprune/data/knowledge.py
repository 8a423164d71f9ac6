"""What a data set must know of a memory bank."""

from typing import Protocol

import numpy as np


class Knowledge(Protocol):
    """Rows `[train, classes, teachers]` that belong to the training images: an array or `ShardedRows`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(train, classes, teachers)`."""

    def __getitem__(self, positions: np.ndarray, /) -> np.ndarray:
        """The rows `[batch, classes, teachers]` of images at positions `[batch]`."""
