"""Rules for layers and operations that treat every channel separately, and for merges, which unite channels."""

import keras

from tfprune.graph.calls import Call
from tfprune.graph.labels import Labels, Vector
from tfprune.graph.rules.lookup import (
    after_batch,
    channel_axis,
    constants_of,
    mixing_activation,
    only,
    pin_all_but,
    rule,
)
from tfprune.keras_private import CustomScaleLayer, StochasticDepth
from tfprune.keras_private import core_operations as core
from tfprune.keras_private import nn_operations as nn
from tfprune.keras_private import numpy_operations as numpy

layers = keras.layers


@rule(
    *(layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Identity, layers.ActivityRegularization),
    *(layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D),
    *(layers.GaussianDropout, layers.GaussianNoise, StochasticDepth),
    *(nn.Relu, nn.Relu6, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Silu, nn.LogSigmoid, nn.LeakyRelu),
    *(nn.HardSigmoid, nn.HardSilu, nn.Elu, nn.Selu, nn.Gelu, nn.Celu, nn.HardTanh),
    *(numpy.Absolute, numpy.Exp, numpy.Expm1, numpy.Log, numpy.Log1p, numpy.Negative, numpy.Reciprocal),
    *(numpy.Sin, numpy.Cos, numpy.Sign, numpy.Sqrt, numpy.Square, numpy.Tanh),
    *(core.Cast, core.StopGradient, numpy.LogicalNot),
)
def _each(labels: Labels, call: Call) -> None:
    labels.put(call.outputs[0], labels.of(call.inputs[0]))


@rule(layers.Dropout, layers.AlphaDropout)
def _dropout(labels: Labels, call: Call) -> None:
    if any(size not in (None, 1) for size in call.layer.noise_shape or ()):
        labels.leave_alone(call, "its noise has a fixed shape")
    else:
        _each(labels, call)


@rule(layers.Activation)
def _activation(labels: Labels, call: Call) -> None:
    axes = labels.of(call.inputs[0])
    if mixed := mixing_activation(call.layer):
        labels.pin(*axes, reason=mixed)
    labels.put(call.outputs[0], axes)


@rule(layers.Softmax, nn.Softmax, nn.LogSoftmax)
def _softmax(labels: Labels, call: Call) -> None:
    axes = labels.of(call.inputs[0])
    axis = getattr(call.layer, "axis", None)
    mixed = [axis] if isinstance(axis, int) else range(len(axes) + 1) if axis is None else axis
    shared = (axes[index] for each in mixed if (index := after_batch(each, call.inputs[0])) >= 0)
    labels.pin(*shared, reason="it divides by a sum over them")
    labels.put(call.outputs[0], axes)


@rule(
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D),
    *(layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D),
    *(layers.AdaptiveAveragePooling1D, layers.AdaptiveAveragePooling2D, layers.AdaptiveAveragePooling3D),
    *(layers.AdaptiveMaxPooling1D, layers.AdaptiveMaxPooling2D, layers.AdaptiveMaxPooling3D),
    *(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D),
    *(layers.Cropping1D, layers.Cropping2D, layers.Cropping3D),
    *(layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D, layers.Resizing),
)
def _spatial(labels: Labels, call: Call) -> None:
    """Mixes positions, not channels."""
    axis = channel_axis(call.layer, call.inputs[0])
    channels = pin_all_but(labels, labels.of(call.inputs[0]), axis)
    labels.put(call.outputs[0], only(axis, channels, call.outputs[0]))


@rule(
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
    masks=True,
)
def _global_pooling(labels: Labels, call: Call) -> None:
    axis = channel_axis(call.layer, call.inputs[0])
    channels = pin_all_but(labels, labels.of(call.inputs[0]), axis)
    (output,) = call.outputs
    labels.put(output, only(axis, channels, output) if call.layer.keepdims else (channels,))


@rule(numpy.Mean, numpy.Max, numpy.Min, numpy.Sum, numpy.Any, numpy.All)
def _reduction(labels: Labels, call: Call) -> None:
    (tensor,) = call.inputs
    axes, given = labels.of(tensor), call.layer.axis
    listed = range(len(tensor.shape)) if given is None else [given] if isinstance(given, int) else given
    reduced = {after_batch(axis, tensor) for axis in listed}
    if -1 in reduced:
        labels.leave_alone(call, "it reduces the batch axis")
        return
    labels.pin(*(axes[index] for index in reduced), reason="it reduces over them")
    kept = call.layer.keepdims
    left = (None if index in reduced else vector for index, vector in enumerate(axes) if kept or index not in reduced)
    labels.put(call.outputs[0], tuple(left))


@rule(
    *(layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum, CustomScaleLayer),
    *(numpy.Add, numpy.Subtract, numpy.Multiply, numpy.Divide, numpy.TrueDivide),
    *(numpy.Maximum, numpy.Minimum, numpy.Power, numpy.LogicalAnd, numpy.LogicalOr, numpy.LogicalXor),
    *(numpy.Equal, numpy.NotEqual, numpy.Less, numpy.LessEqual, numpy.Greater, numpy.GreaterEqual),
    several=True,
)
def _merge(labels: Labels, call: Call) -> None:
    """Unites the labels of its inputs axis by axis; where an input is broadcast or constant, nothing can be removed."""
    (output,) = call.outputs
    rank = len(output.shape)
    if any(len(tensor.shape) != rank for tensor in call.inputs):
        labels.leave_alone(call, "no rule for merging tensors of different rank")
        return
    merged = [_merged(labels, call.inputs, axis, output.shape[axis]) for axis in range(1 - rank, 0)]
    if constants_of(call):
        labels.pin(*merged, reason="it takes a constant with a value for each of them")
    labels.put(output, merged)


def _merged(labels: Labels, tensors: tuple[keras.KerasTensor, ...], axis: int, size: int | None) -> Vector:
    full = [labels.of(tensor)[axis] for tensor in tensors if tensor.shape[axis] == size]
    stretched = [labels.of(tensor)[axis] for tensor in tensors if tensor.shape[axis] != size]
    labels.pin(*stretched, reason="it repeats them along the axis of another input")
    known = [vector for vector in full if vector is not None]
    if len(known) < len(full):
        labels.pin(*known, reason="another of its inputs has fixed channels")
        return None
    for vector in known[1:]:
        labels.unite(known[0], vector)
    return known[0] if known else None
