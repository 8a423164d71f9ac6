"""Rules for layers and operations that move channels: their labels move in the same way."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Axes, Labels, Vector
from tfprune.graph.rules.lookup import POSITIONS, after_batch, constants_of, rule
from tfprune.keras_private import nn_operations as nn
from tfprune.keras_private import numpy_operations as numpy

layers = keras.layers
_WHOLE = slice(None)
_Part = int | slice
Sizes = Sequence[int | None]
NOT_EMPTY = "a range that it takes must not become empty"


@rule(layers.Flatten)
def _flatten(labels: Labels, call: Call) -> None:
    if call.layer.data_format == "channels_first" and len(call.inputs[0].shape) > 2:
        first, *others = labels.of(call.inputs[0])
        sizes = call.inputs[0].shape
        axes, order = (*others, first), (*sizes[2:], sizes[1])
        labels.put(call.outputs[0], reshaped(labels, axes, order, call.outputs[0].shape[1:]))
        return
    _reshape_to_output(labels, call)


@rule(layers.Reshape)
def _reshape(labels: Labels, call: Call) -> None:
    made = _reshape_to_output(labels, call)
    labels.edit(call, "target_shape", *made, change=_new_sizes)


@rule(numpy.Reshape)
def _reshape_operation(labels: Labels, call: Call) -> None:
    if call.inputs[0].shape[0] != call.outputs[0].shape[0] or not same_positions(
        call.inputs[0].shape[1:], call.outputs[0].shape[1:]
    ):
        labels.leave_alone(call, "it reshapes the batch axis")
        return
    made = _reshape_to_output(labels, call)
    labels.edit(call, "newshape", None, *made, change=_new_sizes)


def _reshape_to_output(labels: Labels, call: Call) -> Axes:
    made = reshaped(labels, labels.of(call.inputs[0]), call.inputs[0].shape[1:], call.outputs[0].shape[1:])
    labels.put(call.outputs[0], made)
    return made


def _new_sizes(old: Any, kept: list[np.ndarray]) -> Any:
    """Returns the sizes of a reshape's target; -1 does not change, as it means the remaining size."""
    return [
        size if mask is None or size in (-1, None) else int(mask.sum()) for size, mask in zip(old, kept, strict=True)
    ]


@rule(layers.Permute)
def _permute(labels: Labels, call: Call) -> None:
    axes = labels.of(call.inputs[0])
    labels.put(call.outputs[0], tuple(axes[axis - 1] for axis in call.layer.dims))


@rule(numpy.Transpose, numpy.Swapaxes, numpy.Moveaxis)
def _transpose(labels: Labels, call: Call) -> None:
    order = np.array(_order(call.layer, len(call.inputs[0].shape)))
    if order[0] != 0:
        labels.leave_alone(call, "it moves the batch axis")
        return
    axes = labels.of(call.inputs[0])
    labels.put(call.outputs[0], tuple(axes[axis - 1] for axis in order[1:]))


def _order(operation: Any, rank: int) -> list[int]:
    """Returns the input axis of each output axis."""
    axes = list(range(rank))
    if isinstance(operation, numpy.Transpose):
        return [axis % rank for axis in operation.axes] if operation.axes is not None else axes[::-1]
    if isinstance(operation, numpy.Swapaxes):
        first, second = operation.axis1, operation.axis2
        axes[first], axes[second] = axes[second], axes[first]
        return axes
    sources = [axis % rank for axis in np.ravel(operation.source).tolist()]
    targets = [axis % rank for axis in np.ravel(operation.destination).tolist()]
    left = [axis for axis in axes if axis not in sources]
    for target, source in sorted(zip(targets, sources, strict=True)):
        left.insert(target, source)
    return left


@rule(numpy.ExpandDims, numpy.Squeeze)
def _size_one_axes(labels: Labels, call: Call) -> None:
    """Adds or drops axes of size one, like a reshape."""
    if call.inputs[0].shape[0] != call.outputs[0].shape[0]:
        labels.leave_alone(call, "it changes the batch axis")
        return
    made = _reshape_to_output(labels, call)
    if isinstance(call.layer, numpy.Squeeze) and call.layer.axis is None:
        gone = tuple(axis for axis, size in enumerate(call.inputs[0].shape) if size == 1)
        # Axes that shrink to size 1 are not dropped.
        labels.edit(call, "axis", *made, change=lambda old, kept: gone)


@rule(layers.Concatenate, numpy.Concatenate, several=True)
def _concatenate(labels: Labels, call: Call) -> None:
    if constants_of(call):
        labels.leave_alone(call, "it joins constants")
        return
    joined = after_batch(call.layer.axis, call.inputs[0])
    if joined < 0:
        labels.leave_alone(call, "it joins batches")
        return
    parts = [labels.of(tensor) for tensor in call.inputs]
    result: list[Vector] = []
    for axis in range(len(parts[0])):
        vectors = [part[axis] for part in parts]
        if axis == joined:
            sizes = [tensor.shape[1 + axis] for tensor in call.inputs]
            result.append(_joined(labels, vectors, sizes))
        else:
            result.append(_same(labels, vectors))
    labels.put(call.outputs[0], result)


def _joined(labels: Labels, vectors: list[Vector], sizes: list[int | None]) -> Vector:
    if None in sizes:
        labels.pin(*vectors, reason="it joins axes of unknown size")
    if None in sizes or all(vector is None for vector in vectors):
        return None
    return np.concatenate([_known(labels, vector, size) for vector, size in zip(vectors, sizes, strict=True)])


def _known(labels: Labels, vector: Vector, size: int | None) -> np.ndarray:
    """Returns the labels of an axis; pinned ones if it has none."""
    if vector is None:
        vector = labels.fresh(size or 0)
        labels.pin(vector, reason="they are not the channels of any layer")
    return vector


def _same(labels: Labels, vectors: list[Vector]) -> Vector:
    if any(vector is None for vector in vectors):
        labels.pin(*vectors, reason="another of its inputs has fixed positions there")
        return None
    known = [vector for vector in vectors if vector is not None]
    for vector in known[1:]:
        labels.unite(known[0], vector)
    return known[0]


@rule(numpy.Split)
def _split(labels: Labels, call: Call) -> None:
    axis = after_batch(call.layer.axis, call.inputs[0])
    if axis < 0:
        labels.leave_alone(call, "it splits batches")
        return
    axes = labels.of(call.inputs[0])
    cut = axes[axis]
    equal = isinstance(call.layer.indices_or_sections, int)
    if cut is not None and equal:
        labels.tie(cut, call.layer.indices_or_sections)  # equal parts stay equal
    start = 0
    for tensor in call.outputs:
        size = tensor.shape[1 + axis]
        part = None if cut is None else cut[start : start + size]
        if part is not None and not equal:
            labels.pin(part[:1], reason=NOT_EMPTY)
        labels.put(tensor, (*axes[:axis], part, *axes[axis + 1 :]))
        start += size
    if not equal:
        labels.edit(call, "indices_or_sections", cut, change=_new_sections)


def _new_sections(old: Any, kept: list[np.ndarray]) -> Any:
    return [int(kept[0][:point].sum()) for point in old]


@rule(numpy.GetItem)
def _get_item(labels: Labels, call: Call) -> None:
    """Follows ranges of step one and single positions; all other slices block pruning."""
    (tensor,) = call.inputs
    arguments, named = call.arguments({id(tensor): None})
    taken = _parts(arguments[1] if len(arguments) > 1 else named["key"], tensor.shape)
    if taken is None:
        labels.leave_alone(call, "no rule for this kind of slice")
        return
    axes, left = labels.of(tensor), []
    for vector, part in zip(axes, taken, strict=True):
        if isinstance(part, int):
            labels.pin(vector, reason="it takes a single one of them")
        elif vector is None or part == _WHOLE:
            left.append(vector)
        else:
            labels.pin(vector[part][:1], reason=NOT_EMPTY)
            left.append(vector[part])
    labels.put(call.outputs[0], left)
    labels.edit(call, "key", *axes, change=lambda old, kept: _new_key(taken, kept), argument=True)


def _parts(key: Any, shape: tuple[int | None, ...]) -> list[_Part] | None:
    """Returns what is taken of each axis after the batch axis; None if the key is of another kind."""
    parts = list(key) if isinstance(key, tuple) else [key]
    dots = [index for index, part in enumerate(parts) if part is Ellipsis]
    if dots:
        parts[dots[0] : dots[0] + 1] = [_WHOLE] * (len(shape) - len(parts) + 1)
    parts += [_WHOLE] * (len(shape) - len(parts))
    known = all(type(part) is int or (isinstance(part, slice) and part.step in (None, 1)) for part in parts)
    if not known or len(parts) != len(shape) or parts[0] != _WHOLE:
        return None
    taken: list[_Part] = []
    for part, size in zip(parts[1:], shape[1:], strict=True):
        if isinstance(part, int) or part == _WHOLE:
            taken.append(part)
        elif size is None:
            return None
        else:
            taken.append(slice(*part.indices(size)))
    return taken


def _new_key(taken: list[_Part], kept: list[np.ndarray]) -> tuple[_Part, ...]:
    key: list[_Part] = [_WHOLE]
    for part, mask in zip(taken, kept, strict=True):
        if mask is None or isinstance(part, int) or part == _WHOLE:
            key.append(part)
        else:
            key.append(slice(int(mask[: part.start].sum()), int(mask[: part.stop].sum())))
    return tuple(key)


@rule(nn.DepthToSpace, nn.SpaceToDepth)
def _depth_space(labels: Labels, call: Call) -> None:
    operation: Any = call.layer
    if operation.data_format == "channels_first":
        labels.leave_alone(call, "no rule for channels_first")
        return
    *spatial, channels = labels.of(call.inputs[0])
    labels.pin(*spatial, reason=POSITIONS)
    square = operation.block_size**2
    if channels is not None:
        deeper = isinstance(operation, nn.SpaceToDepth)
        channels = np.tile(channels, square) if deeper else labels.tie(channels, square)
    labels.put(call.outputs[0], (None, None, channels))


@rule(layers.RepeatVector)
def _repeat_vector(labels: Labels, call: Call) -> None:
    labels.put(call.outputs[0], (None, *labels.of(call.inputs[0])))


def reshaped(labels: Labels, axes: Axes, old: Sizes, new: Sizes) -> Axes:
    """Returns the labels after a reshape.

    Axes that are merged hand on the labels of one of them, repeated; if several have labels, only those of the last can
    go, the others are pinned. An axis that is split hands its labels to the last part, and the channels that share a
    position there are united; but if they are the same along it already, the part along which they differ has them.
    `Labels.choose` may choose another part than the last.

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
        labels.pin(*axes, reason="it reshapes them to an unknown size")
        return (None,) * len(new)
    for before, after in _blocks(old, new):
        vectors = axes[before]
        if list(old[before]) == list(new[after]):
            result.extend(vectors)
            continue
        if None in old[before] or None in new[after]:
            labels.pin(*vectors, reason="it reshapes them together with an axis of unknown size")
            result.extend([None] * (after.stop - after.start))
            continue
        sizes = [size or 1 for size in old[before]]
        result.extend(_parted(labels, _merged(labels, vectors, sizes), [size or 1 for size in new[after]]))
    return tuple(result)


def same_positions(old: Sizes, new: Sizes) -> bool:
    """Returns whether two lists of sizes have the same number of positions, as far as is known."""
    known = [[size for size in sizes if size is not None] for sizes in (old, new)]
    return prod(known[0]) == prod(known[1]) and len(old) - len(known[0]) == len(new) - len(known[1])


def _blocks(old: Sizes, new: Sizes) -> Iterator[tuple[slice, slice]]:
    """Yields the smallest runs of old and new axes with the same number of positions."""
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
    labels.pin(*(vector for _, vector in known[:-1]), reason="it joins them with channels of another axis")
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
    target = labels.choose(vector, wide) if wide else len(sizes) - 1
    rows = np.moveaxis(box, target, -1).reshape(-1, sizes[target])
    for row in rows[1:]:
        labels.unite(rows[0], row)
    result[target] = rows[0]
    return result
