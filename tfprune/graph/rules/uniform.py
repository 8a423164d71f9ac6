"""Axes along which a tensor's values are equal, such as those of the masks that Keras makes by `zeros_like`.

A reduction that takes the largest or any value may run over such an axis, even if its positions are channels: the
result is the same as long as one of them is left, and no tensor loses all. Positions that are equal have the same block
number.
"""

from collections.abc import Sequence

import keras
import numpy as np

from tfprune.graph.labels import Axes, Labels, Vector


def fill_uniform(labels: Labels, tensor: keras.KerasTensor) -> None:
    """Notes that all values of a tensor are equal."""
    labels.uniform[id(tensor)] = tuple(None if size is None else np.zeros(size, int) for size in tensor.shape[1:])


def blocks_of(labels: Labels, tensor: keras.KerasTensor) -> Axes:
    """Returns a block number for each position of each axis after the batch axis; None where values differ."""
    return labels.uniform.get(id(tensor), (None,) * (len(tensor.shape) - 1))


def put_blocks(labels: Labels, tensor: keras.KerasTensor, axes: Sequence[Vector]) -> None:
    """Notes the blocks of a tensor, where it has any."""
    if any(vector is not None for vector in axes):
        labels.uniform[id(tensor)] = tuple(axes)


def common_blocks(vectors: Sequence[Vector], size: int | None) -> Vector:
    """Returns the blocks of what is computed position by position from values with these blocks."""
    if size is None or any(vector is None for vector in vectors):
        return None
    rows = np.array([np.zeros(size, int), *vectors])
    return np.unique(rows, axis=1, return_inverse=True)[1].reshape(-1)
