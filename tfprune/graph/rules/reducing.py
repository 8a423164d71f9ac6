"""Rules for operations along some axes: reductions, running sums, sorting, softmax, gated halves."""

from collections.abc import Iterable
from typing import Any

import keras

from tfprune.graph.calls import Call
from tfprune.graph.labels import Labels
from tfprune.graph.rules.lookup import MASKED, after_batch, constants_of, keep_order, put_whole, rule
from tfprune.graph.rules.uniform import blocks_of, put_blocks
from tfprune.keras_private import linear_operations as linear
from tfprune.keras_private import math_operations as math
from tfprune.keras_private import nn_operations as nn
from tfprune.keras_private import numpy_operations as numpy

layers = keras.layers
_OF_EQUAL_VALUES = (numpy.Max, numpy.Min, numpy.Amax, numpy.Amin, numpy.Any, numpy.All)


@rule(
    *(numpy.Mean, numpy.Max, numpy.Min, numpy.Amax, numpy.Amin, numpy.Sum, numpy.Prod, numpy.Any, numpy.All),
    *(numpy.Std, numpy.Var, numpy.Median, numpy.Quantile, numpy.Percentile, numpy.Ptp, numpy.CountNonzero),
    *(numpy.Argmax, numpy.Argmin, numpy.Average, numpy.Trapezoid),
    *(numpy.Nanargmax, numpy.Nanargmin, numpy.Nanmax, numpy.Nanmin, numpy.Nanmean, numpy.Nanmedian),
    *(numpy.Nanpercentile, numpy.Nanquantile, numpy.Nanprod, numpy.Nanstd, numpy.Nanvar, numpy.Nansum),
    *(math.Logsumexp, linear.Norm, nn.Moments),
)
def _reduction(labels: Labels, call: Call) -> None:
    (tensor,) = call.inputs
    layer: Any = call.layer
    axes = (None, *labels.of(tensor))
    given = layer.axes if isinstance(layer, nn.Moments) else layer.axis
    reduced = {axis % len(axes) for axis in _listed(given, range(len(axes)))}
    kept = getattr(layer, "keepdims", False)
    left = [index for index in range(len(axes)) if kept or index not in reduced]
    if not left or any(len(output.shape) != len(left) for output in call.outputs):
        labels.leave_alone(call, "it reduces the batch axis")
        return
    blocks = (None, *blocks_of(labels, tensor))
    for index in reduced:
        if blocks[index] is None or not isinstance(layer, _OF_EQUAL_VALUES):
            labels.pin(axes[index], reason="it reduces over them")
    if constants_of(call):
        labels.pin(*axes, reason="its weights are an array of a fixed size")
    for output in call.outputs:
        put_whole(labels, output, [None if index in reduced else axes[index] for index in left])
        put_blocks(labels, output, [None if index in reduced else blocks[index] for index in left][1:])


def _listed(given: Any, every: Iterable[int]) -> list[int]:
    """Returns the axes that a setting names; None stands for all."""
    return list(every) if given is None else [given] if isinstance(given, int) else list(given)


@rule(layers.Softmax, several=True)
def _softmax_layer(labels: Labels, call: Call) -> None:
    """Follows a softmax that may have a mask, whose positions stay."""
    tensor, *masks = call.inputs
    axes = labels.of(tensor)
    for mask in masks:
        labels.pin(*labels.of(mask), reason="they are positions of a mask")
        for axis in range(1 - min(len(mask.shape), len(tensor.shape)), 0):
            if mask.shape[axis] != 1:
                labels.pin(axes[axis], reason=MASKED)
    _along(labels, call)


@rule(
    *(nn.Softmax, nn.LogSoftmax, nn.Sparsemax),
    *(numpy.Cumsum, numpy.Cumprod, numpy.Nancumsum, numpy.Nancumprod, numpy.Diff, numpy.Roll),
    *(numpy.Sort, numpy.Argsort, numpy.Argpartition, math.TopK),
)
def _along(labels: Labels, call: Call) -> None:
    """Mixes positions along some axes, whose labels are pinned; the others are followed."""
    tensor = call.inputs[0]
    axes = labels.of(tensor)
    if any(len(output.shape) != len(tensor.shape) for output in call.outputs):
        labels.leave_alone(call, "it flattens the batch axis")
        return
    mixed = [after_batch(axis, tensor) for axis in _listed(getattr(call.layer, "axis", -1), range(len(tensor.shape)))]
    shares = isinstance(call.layer, (layers.Softmax, nn.Softmax, nn.LogSoftmax, nn.Sparsemax))
    reason = "it divides by a sum over them" if shares else "it computes along them"
    labels.pin(*(axes[index] for index in mixed if index >= 0), reason=reason)
    for output in call.outputs:
        same = [vector if tensor.shape[1 + i] == output.shape[1 + i] else None for i, vector in enumerate(axes)]
        labels.put(output, same)


@rule(nn.Normalize)
def _normalize(labels: Labels, call: Call) -> None:
    """Follows channels as `UnitNormalization` does: the smaller model has the norm of the channels that are kept."""
    axes = labels.of(call.inputs[0])
    normalized = [after_batch(axis, call.inputs[0]) for axis in _listed(call.layer.axis, range(len(axes) + 1))]
    keep_order(labels, call, *(axes[index] for index in normalized if index >= 0))
    labels.put(call.outputs[0], axes)


@rule(nn.Glu)
def _glu(labels: Labels, call: Call) -> None:
    """Multiplies the first half of an axis by a gate made from the second half, so both halves go together."""
    axes = list(labels.of(call.inputs[0]))
    index = after_batch(call.layer.axis, call.inputs[0])
    if index < 0:
        labels.leave_alone(call, "it halves the batch axis")
        return
    halved = axes[index]
    axes[index] = None if halved is None else labels.tie(halved, 2)
    labels.put(call.outputs[0], axes)
