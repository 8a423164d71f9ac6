"""Rules for operations that join, split, copy or pad tensors along an axis."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Axes, Labels, Vector
from tfprune.graph.rules.elementwise import united
from tfprune.graph.rules.lookup import keep_order, rule
from tfprune.graph.rules.uniform import blocks_of, common_blocks, put_blocks
from tfprune.keras_private import core_operations as core
from tfprune.keras_private import numpy_operations as numpy

layers = keras.layers
_JOINED_AXIS = {numpy.Hstack: 1, numpy.Dstack: 2, numpy.Vstack: 0}
_SPLIT_AXIS = {numpy.Hsplit: 1, numpy.Dsplit: 2, numpy.Vsplit: 0}


@rule(
    *(layers.Concatenate, numpy.Concatenate, numpy.Hstack, numpy.Dstack, numpy.Vstack, numpy.Append),
    several=True,
    all_axes=True,
)
def _concatenate(labels: Labels, call: Call) -> None:
    """Joins labels along one axis; along the others, the parts are united. Constants keep their sizes."""
    operands = _parts_of(call)
    axis = _JOINED_AXIS.get(type(call.layer), getattr(call.layer, "axis", None))
    output = call.outputs[0]
    joined = -1 if axis is None else axis % len(output.shape)
    of_examples = joined == 0 and output.shape[0] is None
    if joined < 0 or of_examples or any(len(np.shape(each)) != len(output.shape) for each in operands):
        labels.leave_alone(call, "it joins batches, or flattens what it joins")
        return
    result, blocks = [], []
    for index, size in enumerate(output.shape):
        vectors = [_axes(labels, each)[index] for each in operands]
        equal = [(None, *blocks_of(labels, each))[index] if _symbolic(each) else None for each in operands]
        if index == joined:
            result.append(_joined(labels, vectors, [np.shape(each)[index] for each in operands]))
            blocks.append(_joined_blocks(equal))
        else:
            result.append(united(labels, vectors))
            blocks.append(common_blocks(equal, size))
    labels.put_axes(output, result)
    put_blocks(labels, output, blocks[1:])


def _axes(labels: Labels, operand: Any) -> Axes:
    """Returns the labels along all axes of an operand; a constant has none."""
    return labels.axes(operand) if _symbolic(operand) else (None,) * len(np.shape(operand))


def _symbolic(operand: Any) -> bool:
    return isinstance(operand, keras.KerasTensor)


def _parts_of(call: Call) -> list[Any]:
    """Returns the operands of a call, constants included."""
    arguments, named = call.arguments({id(tensor): tensor for tensor in call.inputs})
    values = [*arguments, *(named[name] for name in ("inputs", "xs", "x", "x1", "x2") if name in named)]
    lists = [list(value) if isinstance(value, (list, tuple)) else [value] for value in values]
    return [each for several in lists for each in several]


def _joined(labels: Labels, vectors: list[Vector], sizes: list[int | None]) -> Vector:
    if None in sizes:
        labels.pin(*vectors, reason="it joins axes of unknown size")
    if None in sizes or all(vector is None for vector in vectors):
        return None
    return np.concatenate([_known(labels, vector, size) for vector, size in zip(vectors, sizes, strict=True)])


def _joined_blocks(blocks: Sequence[Vector]) -> Vector:
    known = [each for each in blocks if each is not None]
    if len(known) < len(blocks):
        return None
    starts = np.cumsum([0, *(each.max(initial=-1) + 1 for each in known[:-1])])
    return np.concatenate([each + start for each, start in zip(known, starts, strict=True)])


def _known(labels: Labels, vector: Vector, size: int | None) -> np.ndarray:
    """Returns the labels of an axis; pinned ones if it has none."""
    return _fixed(labels, size or 0) if vector is None else vector


def _fixed(labels: Labels, count: int) -> np.ndarray:
    """Returns labels of positions that always stay."""
    new = labels.fresh(count)
    labels.pin(new, reason="they are not the channels of any layer")
    return new


@rule(numpy.Stack, several=True, all_axes=True)
def _stack(labels: Labels, call: Call) -> None:
    """Unites the labels of its parts, beside a new axis that is always kept."""
    operands = _parts_of(call)
    output = call.outputs[0]
    place = call.layer.axis % len(output.shape)
    moved = place == 0 and None in output.shape[:2]
    if moved or any(len(np.shape(each)) != len(output.shape) - 1 for each in operands):
        labels.leave_alone(call, "it moves the batch axis")
        return
    axes = [_axes(labels, each) for each in operands]
    made = [united(labels, list(vectors)) for vectors in zip(*axes, strict=True)]
    labels.put_axes(output, (*made[:place], None, *made[place:]))


@rule(core.Unstack, all_axes=True)
def _unstack(labels: Labels, call: Call) -> None:
    axes = labels.axes(call.inputs[0])
    axis = call.layer.axis % len(axes)
    if call.inputs[0].shape[axis] is None:
        labels.leave_alone(call, "it takes the batch apart")
        return
    labels.pin(axes[axis], reason="it takes them apart one by one")
    for output in call.outputs:
        labels.put_axes(output, (*axes[:axis], *axes[axis + 1 :]))


@rule(numpy.Split, numpy.ArraySplit, numpy.Hsplit, numpy.Vsplit, numpy.Dsplit, all_axes=True)
def _split(labels: Labels, call: Call) -> None:
    layer: Any = call.layer
    axis = _SPLIT_AXIS.get(type(layer), getattr(layer, "axis", 0))
    axes = labels.axes(call.inputs[0])
    axis = axis % len(axes)
    if axis == 0 and call.inputs[0].shape[0] is None:
        labels.leave_alone(call, "it splits batches")
        return
    cut = axes[axis]
    sizes = [tensor.shape[axis] for tensor in call.outputs]
    by_number = isinstance(layer.indices_or_sections, int)
    equal = by_number and len(set(sizes)) == 1
    if cut is not None and equal:
        labels.tie(cut, layer.indices_or_sections)  # equal parts stay equal
    elif by_number:
        labels.pin(cut, reason="it splits them into parts of nearly equal size")
    start = 0
    for tensor, size in zip(call.outputs, sizes, strict=True):
        part = None if cut is None else cut[start : start + (size or 0)]
        labels.put_axes(tensor, (*axes[:axis], part, *axes[axis + 1 :]))
        start += size or 0
    if not by_number:
        labels.edit(call, "indices_or_sections", cut, change=_new_sections)


def _new_sections(old: Any, kept: list[np.ndarray]) -> Any:
    return [int(kept[0][:point].sum()) for point in old]


@rule(numpy.Tile, all_axes=True)
def _tile(labels: Labels, call: Call) -> None:
    (tensor,), (output,) = call.inputs, call.outputs
    repeats = np.ravel(call.layer.repeats).tolist()
    repeats = [1] * (len(tensor.shape) - len(repeats)) + repeats
    if len(output.shape) != len(tensor.shape) or (repeats[:1] != [1] and tensor.shape[0] is None):
        labels.leave_alone(call, "it copies or moves the batch axis")
        return
    made = [_copied(vector, times) for vector, times in zip(labels.axes(tensor), repeats, strict=True)]
    labels.put_axes(output, made)


def _copied(vector: Vector, times: int) -> Vector:
    return None if vector is None else np.tile(vector, times)


@rule(numpy.Repeat, all_axes=True)
def _repeat(labels: Labels, call: Call) -> None:
    (tensor,) = call.inputs
    axes = list(labels.axes(tensor))
    axis = call.layer.axis
    if axis is None or tensor.shape[axis] is None:
        labels.leave_alone(call, "it copies or flattens the batch axis")
        return
    vector = axes[axis]
    if np.size(call.layer.repeats) > 1:
        labels.pin(vector, reason="they are repeated different numbers of times")
    if vector is not None:
        axes[axis] = np.repeat(vector, call.layer.repeats)
        keep_order(labels, call, vector)
    labels.put_axes(call.outputs[0], axes)


@rule(numpy.Pad, all_axes=True)
def _pad(labels: Labels, call: Call) -> None:
    """Adds positions: constant ones stay, copies of others keep these."""
    (tensor,) = call.inputs
    layer: Any = call.layer
    widths = list(layer.pad_width)
    widths = widths * len(tensor.shape) if len(widths) == 1 else widths
    if any(widths[0]):
        labels.leave_alone(call, "it pads the batch axis")
        return
    axes = []
    for vector, (before, after) in zip(labels.axes(tensor), widths, strict=True):
        if vector is None or not before + after:
            axes.append(vector)
            continue
        if layer.mode != "constant":
            labels.pin(vector, reason=f"it pads them by copies ({layer.mode})")
        axes.append(np.concatenate([_fixed(labels, before), vector, _fixed(labels, after)]))
    labels.put_axes(call.outputs[0], axes)


@rule(numpy.BroadcastTo, all_axes=True)
def _broadcast_to(labels: Labels, call: Call) -> None:
    (tensor,), (output,) = call.inputs, call.outputs
    new = len(output.shape) - len(tensor.shape)
    if new and None in tensor.shape[:1]:
        labels.leave_alone(call, "it moves the batch axis")
        return
    axes: list[Vector] = [None] * new
    blocks: list[Vector] = [None] * new
    given = (None, *blocks_of(labels, tensor))[: len(tensor.shape)]
    known = zip(labels.axes(tensor), given, tensor.shape, output.shape[new:], strict=True)
    for vector, equal, before, after in known:
        if before == after:
            axes.append(vector)
            blocks.append(equal)
        else:
            labels.pin(vector, reason="it repeats them along an axis")
            axes.append(None)
            blocks.append(None)
    labels.put_axes(output, axes)
    put_blocks(labels, output, blocks[1:])
    labels.edit(call, "shape", *axes, change=_new_shape)


def _new_shape(old: Any, kept: list[Any]) -> Any:
    return [size if mask is None else int(mask.sum()) for size, mask in zip(old, kept, strict=True)]
