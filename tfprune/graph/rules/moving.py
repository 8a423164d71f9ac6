"""Rules for layers and operations that move channels: their labels move in the same way."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Axes, Labels, Vector
from tfprune.graph.rules.lookup import POSITIONS, put_whole, rule
from tfprune.keras_private import nn_operations as nn
from tfprune.keras_private import numpy_operations as numpy

layers = keras.layers
Sizes = Sequence[int | None]


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
    made = _reshape_whole(labels, call, "it reshapes the batch axis")
    labels.edit(call, "newshape", None, *made, change=_new_sizes)


def _reshape_to_output(labels: Labels, call: Call) -> Axes:
    made = reshaped(labels, labels.of(call.inputs[0]), call.inputs[0].shape[1:], call.outputs[0].shape[1:])
    labels.put(call.outputs[0], made)
    return made


def _reshape_whole(labels: Labels, call: Call, reason: str) -> Axes:
    """Does the same as `_reshape_to_output` where the first axis may change, too.

    Args:
        labels: Where labels are united and pinned.
        call: The call.
        reason: Why all of them stay if sizes are not known.
    """
    (tensor,), (output,) = call.inputs, call.outputs
    if tensor.shape[0] == output.shape[0] and same_positions(tensor.shape[1:], output.shape[1:]):
        return _reshape_to_output(labels, call)
    if None in (*tensor.shape, *output.shape):
        labels.leave_alone(call, reason)
        return labels.of(output)
    axes = reshaped(labels, (None, *labels.of(tensor)), tensor.shape, output.shape)
    return put_whole(labels, output, axes)


def _new_sizes(old: Any, kept: list[np.ndarray]) -> Any:
    """Returns the sizes of a reshape's target; -1 does not change, as it means the remaining size."""
    return [
        size if mask is None or size in (-1, None) else int(mask.sum()) for size, mask in zip(old, kept, strict=True)
    ]


@rule(layers.Permute)
def _permute(labels: Labels, call: Call) -> None:
    axes = labels.of(call.inputs[0])
    labels.put(call.outputs[0], tuple(axes[axis - 1] for axis in call.layer.dims))


@rule(numpy.Transpose, numpy.Swapaxes, numpy.Moveaxis, numpy.Rot90)
def _transpose(labels: Labels, call: Call) -> None:
    axes = (None, *labels.of(call.inputs[0]))
    if isinstance(call.layer, numpy.Rot90):
        labels.pin(*(axes[axis] for axis in call.layer.axes), reason="it turns them")
    put_whole(labels, call.outputs[0], [axes[axis] for axis in _order(call.layer, len(axes))])


def _order(operation: Any, rank: int) -> list[int]:
    """Returns the input axis of each output axis."""
    axes = list(range(rank))
    if isinstance(operation, numpy.Rot90):
        turns, (first, second) = operation.k % 4, operation.axes
        if turns % 2:
            axes[first], axes[second] = axes[second], axes[first]
        return axes
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
    made = _reshape_whole(labels, call, "it changes the batch axis")
    if isinstance(call.layer, numpy.Squeeze) and call.layer.axis is None:
        gone = tuple(axis for axis, size in enumerate(call.inputs[0].shape) if size == 1)
        # Axes that shrink to size 1 are not dropped.
        labels.edit(call, "axis", *made, change=lambda old, kept: gone)


@rule(nn.DepthToSpace, nn.SpaceToDepth)
def _depth_space(labels: Labels, call: Call) -> None:
    operation: Any = call.layer
    if operation.data_format == "channels_first":
        labels.leave_alone(call, "it has no rule for channels before positions")
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
