"""A reference for pruned models that knows nothing of channel groups.

Which entries of each weight a plan keeps is read off the pruned weights: the plan is applied to the model with weights
that hold their own indices. The reference is the original model, run by Keras, with all other entries set to zero.
Normalizations over channels take their statistics from the entries that are kept.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

Kept = list[np.ndarray]
"""For each axis of a weight, which of its indices are kept, ascending."""

_PARTIAL_STATISTICS = (
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.GroupNormalization,
)


def kept_indices(model: keras.Model, apply: Callable[[], keras.Model], small: keras.Model) -> list[Kept | None]:
    """Finds which entries of each of a model's variables a pruned model has.

    Args:
        model: The original. Its weights are changed on the way and restored.
        apply: Returns the pruned model for the weights that `model` has.
        small: The pruned model for its present weights.

    Returns:
        For each variable of the model the indices along each axis; None if its shape is the same.

    Raises:
        ValueError: The variables of the two models do not correspond to each other.
    """
    ranks = [[len(variable.shape) for variable in each.variables] for each in (model, small)]
    if ranks[0] != ranks[1]:
        raise ValueError(f"expected the same variables, received {len(ranks[0])} and {len(ranks[1])}")
    shapes = [(tuple(old.shape), tuple(new.shape)) for old, new in zip(model.variables, small.variables, strict=True)]
    found: list[Kept | None] = [None if old == new else [np.arange(size) for size in old] for old, new in shapes]
    values = model.get_weights() if model.weights == model.variables else [np.asarray(v) for v in model.variables]
    for axis in range(max((len(old) for old, _ in shapes), default=0)):
        for variable, (old, new) in zip(model.variables, shapes, strict=True):
            if old != new and axis < len(old):
                code = np.arange(1, old[axis] + 1).reshape([-1 if i == axis else 1 for i in range(len(old))])
                variable.assign(np.broadcast_to(code, old))
        coded = apply()
        for entry, variable, (old, new) in zip(found, coded.variables, shapes, strict=True):
            if entry is not None and axis < len(old):
                entry[axis] = _decoded(np.asarray(variable, np.float64), axis, old, new)
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)
    return found


def _decoded(values: np.ndarray, axis: int, old: tuple[int, ...], new: tuple[int, ...]) -> np.ndarray:
    """Returns the indices that a coded weight holds along an axis; it may be scaled by the root of the share kept."""
    lines = np.moveaxis(values, axis, -1).reshape(-1, new[axis])
    if not (lines == lines[:1]).all():
        raise ValueError("expected the same indices everywhere along an axis")
    shares = [after / before for before, after in zip(old, new, strict=True) if before != after]
    for scale in (1.0, *(math.sqrt(share) for share in shares), *(1 / math.sqrt(share) for share in shares)):
        index = lines[0] / scale - 1
        nearest = np.rint(index).astype(int)
        ascending = (np.diff(nearest) > 0).all() and nearest[0] >= 0 and nearest[-1] < old[axis]
        if ascending and np.abs(index - nearest).max() < 1e-3:
            return nearest
    raise ValueError(f"expected indices of 0 to {old[axis] - 1} in ascending order")


def zero_the_rest(model: keras.Model, kept: list[Kept | None]) -> None:
    """Sets all entries of a model's weights to zero that are not kept, except moving variances."""
    for variable, indices in zip(model.variables, kept, strict=True):
        if indices is not None and variable.name != "moving_variance":
            value = np.zeros(variable.shape, np.float32)
            value[np.ix_(*indices)] = np.asarray(variable, np.float32)[np.ix_(*indices)]
            variable.assign(value)


@contextmanager
def partial_statistics(model: keras.Model, kept: list[Kept | None]) -> Iterator[None]:
    """Lets layer, RMS and group normalizations of a model take statistics over the kept entries only."""
    by_variable = {id(variable): indices for variable, indices in zip(model.variables, kept, strict=True)}
    changed = []
    for layer in model._flatten_layers():
        indices = next((by_variable[id(v)] for v in layer.variables if by_variable.get(id(v)) is not None), None)
        if isinstance(layer, _PARTIAL_STATISTICS) and indices is not None:
            mask = np.zeros(layer.variables[0].shape, np.float32)
            mask[np.ix_(*indices)] = 1
            layer.call = _Normalize(layer, mask)
            changed.append(layer)
    try:
        yield
    finally:
        for layer in changed:
            del layer.call


class _Normalize:
    """Computes a normalization layer with statistics over the entries where a mask is 1."""

    def __init__(self, layer: Any, mask: np.ndarray) -> None:
        self.layer, self.mask = layer, mask

    def __call__(self, inputs: Any, *_: Any, **__: Any) -> Any:
        layer, ops = self.layer, keras.ops
        x, shape = inputs, [int(size) if size else -1 for size in inputs.shape]
        if isinstance(layer, keras.layers.GroupNormalization):
            width = shape[-1]
            groups = width if layer.groups == -1 else layer.groups
            mask = self.mask.reshape([1] * (len(shape) - 1) + [groups, width // groups])
            x = ops.reshape(x, [*ops.shape(x)[:-1], groups, width // groups])
            axes = [*range(1, len(shape) - 1), len(shape)]
        else:
            axes = [axis % len(shape) for axis in np.ravel(layer.axis)]
            mask = self.mask.reshape([1] * (len(shape) - self.mask.ndim) + list(self.mask.shape))
        mask = ops.broadcast_to(ops.convert_to_tensor(mask), ops.shape(x))
        count = ops.maximum(ops.sum(mask, axes, keepdims=True), 1.0)
        if isinstance(layer, keras.layers.RMSNormalization):
            result = x * ops.rsqrt(ops.sum(mask * x * x, axes, keepdims=True) / count + layer.epsilon)
        else:
            mean = ops.sum(mask * x, axes, keepdims=True) / count
            variance = ops.sum(mask * ops.square(x - mean), axes, keepdims=True) / count
            result = (x - mean) * ops.rsqrt(variance + layer.epsilon)
        result = ops.reshape(result, ops.shape(inputs))
        for weight, apply in (("gamma", ops.multiply), ("scale", ops.multiply), ("beta", ops.add)):
            value = getattr(layer, weight, None)
            if hasattr(value, "shape"):
                result = apply(result, ops.reshape(value, [1] * (len(shape) - len(value.shape)) + list(value.shape)))
        return result
