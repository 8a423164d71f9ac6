"""Cutting a batch into parts."""

from itertools import pairwise

import tensorflow as tf

from tfprune.training.objective import Batch


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """Cuts every tensor of a batch along its first axis, losing no row.

    Args:
        batch: Tensors (or arrays) `[examples, ...]` of one length.
        parts: How many; their lengths differ by one row at most.

    Returns:
        The parts in order, tensors.

    Example:
        >>> [part["labels"].numpy().tolist() for part in split_batch({"labels": tf.range(5)}, 2)]
        [[0, 1], [2, 3, 4]]
    """
    batch = {name: tf.convert_to_tensor(value) for name, value in batch.items()}
    if parts == 1:
        return [batch]
    rows = len(next(iter(batch.values())))
    cuts = [part * rows // parts for part in range(parts + 1)]
    return [{name: value[start:stop] for name, value in batch.items()} for start, stop in pairwise(cuts)]
