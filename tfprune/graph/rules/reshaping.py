"""What a reshape does to labels."""

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from tfprune.graph.labels import Axes, Labels, Vector

Sizes = Sequence[int | None]


def reshaped(labels: Labels, axes: Axes, old: Sizes, new: Sizes) -> Axes:
    """Labels after a reshape.

    Axes that are merged hand on the labels of one of them, repeated; if several have labels, only those of the last can
    go, the others are pinned. An axis that is split hands its labels to the last part, and the channels that share a
    position there are united; but if they are the same along it already, the part along which they differ has them.

    Args:
        labels: Where labels are united and pinned.
        axes: Labels along the old axes.
        old: Sizes of the old axes.
        new: Sizes of the new ones.

    Returns:
        Labels along the new axes.
    """
    result: list[Vector] = []
    if not same_positions(old, new):
        labels.pin(*axes)
        return (None,) * len(new)
    for before, after in _blocks(old, new):
        vectors = axes[before]
        if list(old[before]) == list(new[after]):
            result.extend(vectors)
            continue
        if None in old[before] or None in new[after]:
            labels.pin(*vectors)
            result.extend([None] * (after.stop - after.start))
            continue
        sizes = [size or 1 for size in old[before]]
        result.extend(_parted(labels, _merged(labels, vectors, sizes), [size or 1 for size in new[after]]))
    return tuple(result)


def same_positions(old: Sizes, new: Sizes) -> bool:
    """Whether two lists of sizes hold equally many positions, as far as is known."""
    known = [[size for size in sizes if size is not None] for sizes in (old, new)]
    return prod(known[0]) == prod(known[1]) and len(old) - len(known[0]) == len(new) - len(known[1])


def _blocks(old: Sizes, new: Sizes) -> Iterator[tuple[slice, slice]]:
    """Pairs of smallest runs of old and new axes that hold the same positions."""
    i = j = 0
    while i < len(old) or j < len(new):
        start_i, start_j = i, j
        if i < len(old) and j < len(new) and old[i] == new[j]:
            i, j = i + 1, j + 1
            yield slice(start_i, i), slice(start_j, j)
            continue
        if None in list(old[i:]) + list(new[j:]):
            yield slice(i, len(old)), slice(j, len(new))
            return
        left, right = 1, 1
        while True:
            if left <= right and i < len(old):
                left, i = left * int(old[i] or 1), i + 1
            elif j < len(new):
                right, j = right * int(new[j] or 1), j + 1
            else:
                i = len(old)
                break
            if left == right and i > start_i and j > start_j:
                break
        while i < len(old) and old[i] == 1 and (j == len(new) or new[j] != 1):
            i += 1
        while j < len(new) and new[j] == 1 and (i == len(old) or old[i] != 1):
            j += 1
        yield slice(start_i, i), slice(start_j, j)


def _merged(labels: Labels, vectors: Sequence[Vector], sizes: list[int]) -> Vector:
    known = [(index, vector) for index, vector in enumerate(vectors) if vector is not None]
    if not known:
        return None
    labels.pin(*(vector for _, vector in known[:-1]))
    last, vector = known[-1]
    shape = [size if index == last else 1 for index, size in enumerate(sizes)]
    return np.broadcast_to(vector.reshape(shape), sizes).reshape(-1)


def _parted(labels: Labels, vector: Vector, sizes: list[int]) -> list[Vector]:
    result: list[Vector] = [None] * len(sizes)
    wide = [index for index, size in enumerate(sizes) if size > 1]
    if vector is None or not sizes:
        return result
    box = vector.reshape(sizes)
    roots = labels.roots(box)
    for index in reversed(wide):
        along = np.moveaxis(roots, index, -1).reshape(-1, sizes[index])
        if (along == along[:1]).all():
            result[index] = np.moveaxis(box, index, -1).reshape(-1, sizes[index])[0]
            return result
    target = wide[-1] if wide else len(sizes) - 1
    rows = np.moveaxis(box, target, -1).reshape(-1, sizes[target])
    for row in rows[1:]:
        labels.unite(rows[0], row)
    result[target] = rows[0]
    return result
