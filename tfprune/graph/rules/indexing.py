"""Rules for operations that select or reorder positions: slices, `take`, `flip`."""

from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Labels, Vector
from tfprune.graph.rules.lookup import after_batch, keep_order, named_arguments, rule
from tfprune.keras_private import core_operations as core
from tfprune.keras_private import numpy_operations as numpy

_WHOLE = slice(None)
_Part = int | slice | None
"""What is taken of an axis; None for a new axis of size one."""


@rule(numpy.GetItem, all_axes=True)
def _get_item(labels: Labels, call: Call) -> None:
    """Follows ranges, single positions and new axes; indices that are arrays or tensors block pruning."""
    (tensor,) = call.inputs
    parts = _parts(named_arguments(call)["key"], tensor.shape)
    if parts is None:
        labels.leave_alone(call, "no rule for slices by arrays, or of the batch axis")
        return
    axes = iter(labels.axes(tensor))
    left: list[Vector] = []
    taken: list[int | slice] = []
    for part in parts:
        if part is None:
            left.append(None)
            continue
        vector = next(axes)
        if isinstance(part, int):
            labels.pin(vector, reason="it takes a single one of them")
        elif vector is not None and part != _WHOLE:
            vector, part = _sliced(labels, vector, part)
        if not isinstance(part, int):
            left.append(vector)
        taken.append(part)
    labels.put_axes(call.outputs[0], left)
    new = _Key(parts, taken)
    labels.edit(call, "key", *labels.axes(tensor), change=new, argument=True)


def _parts(key: Any, shape: tuple[int | None, ...]) -> list[_Part] | None:
    """Returns what is taken of each axis; None if the key is of another kind, or takes unknown examples apart."""
    parts = list(key) if isinstance(key, (tuple, list)) else [key]
    if any(
        part is not Ellipsis and part is not None and not isinstance(part, (int, np.integer, slice)) for part in parts
    ):
        return None
    if any(isinstance(part, bool) for part in parts):
        return None
    missing = len(shape) - sum(part is not None and part is not Ellipsis for part in parts)
    dots = next((index for index, part in enumerate(parts) if part is Ellipsis), None)
    if dots is None:
        parts += [_WHOLE] * missing
    else:
        parts[dots : dots + 1] = [_WHOLE] * missing
    whole = isinstance(parts[0], slice) and parts[0].indices(10) == (0, 10, 1)
    if shape[0] is None and not whole:
        return None
    return [_WHOLE if part == _WHOLE else int(part) if isinstance(part, np.integer) else part for part in parts]


def _sliced(labels: Labels, vector: np.ndarray, part: slice) -> tuple[np.ndarray, slice]:
    """Returns the labels of a range and the range without negative bounds.

    The positions that a range of wider steps skips go together with those that it takes, where the steps fill the axis.
    """
    taken = vector[part]
    start, stop, step = part.indices(len(vector))
    if len(taken) == 1:
        labels.pin(taken, reason="it takes a single one of them")
    if abs(step) == 1 or len(taken) <= 1:
        return taken, slice(start, stop, step)
    if step > 0 and start < step and len(vector) % step == 0 and len(taken) == len(vector) // step:
        for row in vector.reshape(-1, step).T[1:]:
            labels.unite(vector[::step], row)
    else:
        labels.pin(vector, reason=f"it takes one of every {abs(step)} of them")
    return taken, slice(start, stop, step)


class _Key:
    """Makes the key of a slice of a smaller tensor."""

    def __init__(self, parts: list[_Part], taken: list[int | slice]) -> None:
        self._parts, self._taken = parts, taken

    def __call__(self, old: Any, kept: list[Any]) -> tuple[_Part, ...]:
        key: list[_Part] = []
        axes = iter(zip(self._taken, kept, strict=True))
        for part in self._parts:
            if part is None:
                key.append(None)
                continue
            chosen, mask = next(axes)
            if mask is not None and isinstance(chosen, slice) and chosen.step in (1, -1):
                key.append(_narrowed(chosen, mask))
            else:
                key.append(part)
        return tuple(key)


def _narrowed(part: slice, mask: np.ndarray) -> slice:
    """Returns the range that takes what a mask keeps of a range of step 1 or -1."""
    if part.step == 1:
        return slice(int(mask[: part.start].sum()), int(mask[: part.stop].sum()))
    low, high = int(mask[: part.stop + 1].sum()), int(mask[: part.start + 1].sum())
    return slice(high - 1, low - 1 if low else None, -1)


@rule(core.Slice)
def _slice(labels: Labels, call: Call) -> None:
    """Follows axes that are taken whole."""
    (tensor,) = call.inputs
    axes = list(labels.of(tensor))
    if tensor.shape[0] != call.outputs[0].shape[0]:
        labels.leave_alone(call, "it slices the batch axis")
        return
    for index, (before, after) in enumerate(zip(tensor.shape[1:], call.outputs[0].shape[1:], strict=True)):
        if before != after:
            labels.pin(axes[index], reason="a slice of a fixed size is taken of them")
            axes[index] = None
    labels.edit(call, "shape", None, *axes, change=_resized)
    labels.put(call.outputs[0], axes)


def _resized(old: Any, kept: list[Any]) -> Any:
    return [size if mask is None else int(mask.sum()) for size, mask in zip(old, kept, strict=True)]


@rule(numpy.Take, several=True, all_axes=True)
def _take(labels: Labels, call: Call) -> None:
    given = named_arguments(call)
    tensor, indices = given["x"], given["indices"]
    output = call.outputs[0]
    if not isinstance(tensor, keras.KerasTensor):
        _take_of_constant(labels, call, indices)
        return
    axis = call.layer.axis
    if isinstance(indices, keras.KerasTensor) or axis is None or tensor.shape[axis % len(tensor.shape)] is None:
        labels.leave_alone(call, "it selects positions by a tensor, or of the batch axis")
        return
    axes, chosen = labels.axes(tensor), np.asarray(indices)
    axis = axis % len(axes)
    vector = axes[axis]
    made: tuple[Vector, ...] = (None,) * chosen.ndim
    within = chosen.size > 0 and vector is not None and -len(vector) <= chosen.min() <= chosen.max() < len(vector)
    if vector is not None and chosen.ndim == 1 and within:
        made = (vector[chosen],)
        labels.edit(call, "indices", vector, change=_renumbered, argument=True)
    else:
        labels.pin(vector, reason="some of them are selected by their numbers")
    labels.put_axes(output, (*axes[:axis], *made, *axes[axis + 1 :]))


def _take_of_constant(labels: Labels, call: Call, indices: keras.KerasTensor) -> None:
    """Looks rows up in a constant table."""
    if call.layer.axis not in (None, 0) or call.outputs[0].shape[0] != indices.shape[0]:
        labels.leave_alone(call, "it moves the batch axis")
        return
    axes = labels.of(indices)
    labels.put(call.outputs[0], (*axes, *(None,) * (len(call.outputs[0].shape) - 1 - len(axes))))


def _renumbered(old: Any, kept: list[np.ndarray]) -> np.ndarray:
    """Returns the numbers that the kept ones among selected positions have in the smaller tensor."""
    mask, numbers = kept[0], np.asarray(old)
    return (np.cumsum(mask) - 1)[numbers[mask[numbers]]]


@rule(numpy.Flip, numpy.Fliplr, numpy.Flipud)
def _flip(labels: Labels, call: Call) -> None:
    tensor = call.inputs[0]
    fixed = {numpy.Fliplr: 1, numpy.Flipud: 0}
    given = fixed.get(type(call.layer), getattr(call.layer, "axis", None))
    flipped = range(len(tensor.shape)) if given is None else [given] if isinstance(given, int) else given
    axes = list(labels.of(tensor))
    for index in {after_batch(axis, tensor) for axis in flipped} - {-1}:
        vector = axes[index]
        if vector is not None:
            keep_order(labels, call, vector)
            axes[index] = vector[::-1]
    labels.put(call.outputs[0], axes)
