"""Rules for layers and operations that treat every channel separately, and for merges, which unite channels."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Axes, Labels, Vector
from tfprune.graph.rules.lookup import MIXES, activation_mixes, constants_of, named_arguments, rule
from tfprune.graph.rules.uniform import blocks_of, common_blocks, fill_uniform, put_blocks
from tfprune.keras_private import CustomScaleLayer, StochasticDepth
from tfprune.keras_private import core_operations as core
from tfprune.keras_private import math_operations as math
from tfprune.keras_private import nn_operations as nn
from tfprune.keras_private import numpy_operations as numpy

layers = keras.layers


@rule(
    *(layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Identity, layers.ActivityRegularization),
    *(layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D),
    *(layers.GaussianDropout, layers.GaussianNoise, StochasticDepth),
    *(nn.Relu, nn.Relu6, nn.Sigmoid, nn.SparseSigmoid, nn.Softplus, nn.Softsign, nn.SoftShrink, nn.SparsePlus),
    *(nn.Silu, nn.Squareplus, nn.LogSigmoid, nn.LeakyRelu, nn.HardSigmoid, nn.HardSilu, nn.Elu, nn.Selu, nn.Gelu),
    *(nn.Celu, nn.TanhShrink, nn.HardTanh, nn.HardShrink, nn.Threshold),
    *(numpy.Absolute, numpy.Abs, numpy.Fabs, numpy.Angle, numpy.Arccos, numpy.Arccosh, numpy.Arcsin, numpy.Arcsinh),
    *(numpy.Arctan, numpy.Arctanh, numpy.BitwiseInvert, numpy.BitwiseNot, numpy.Cbrt, numpy.Ceil, numpy.Conj),
    *(numpy.Conjugate, numpy.Copy, numpy.Cos, numpy.Cosh, numpy.Deg2rad, numpy.Digitize, numpy.Exp, numpy.Exp2),
    *(numpy.Expm1, numpy.Floor, numpy.I0, numpy.Imag, numpy.Isfinite, numpy.Isinf, numpy.Isnan, numpy.Isneginf),
    *(numpy.Isposinf, numpy.Isreal, numpy.Log, numpy.Log10, numpy.Log1p, numpy.Log2, numpy.LogicalNot),
    *(numpy.NanToNum, numpy.Negative, numpy.Rad2deg, numpy.Real, numpy.Reciprocal, numpy.Round, numpy.Sign),
    *(numpy.Signbit, numpy.Sin, numpy.Sinc, numpy.Sinh, numpy.Sqrt, numpy.Square, numpy.Tan, numpy.Tanh, numpy.Trunc),
    *(numpy.Array, numpy.View, numpy.EmptyLike),
    *(math.Rsqrt, math.Erf, math.Erfc, math.Erfinv),
    *(core.Cast, core.SaturateCast, core.StopGradient, core.ConvertToTensor),
)
def _each(labels: Labels, call: Call) -> None:
    (tensor,), (output,) = call.inputs, call.outputs
    if tensor.shape != output.shape:
        labels.leave_alone(call, "its output has another shape than its input")
        return
    labels.put(output, labels.of(tensor))
    put_blocks(labels, output, blocks_of(labels, tensor))


@rule(numpy.ZerosLike, numpy.OnesLike, numpy.FullLike)
def _filled(labels: Labels, call: Call) -> None:
    axes = labels.of(call.inputs[0])
    if constants_of(call):
        labels.pin(*axes, reason="it fills a tensor with an array of a fixed size")
    else:
        fill_uniform(labels, call.outputs[0])
    labels.put(call.outputs[0], axes)


@rule(numpy.Clip)
def _clip(labels: Labels, call: Call) -> None:
    if np.size(call.layer.x_min) > 1 or np.size(call.layer.x_max) > 1:
        labels.pin(*labels.of(call.inputs[0]), reason="its limits are arrays of a fixed size")
    _each(labels, call)


@rule(nn.OneHot)
def _one_hot(labels: Labels, call: Call) -> None:
    """Adds an axis of classes."""
    axes = list(labels.of(call.inputs[0]))
    place = call.layer.axis % len(call.outputs[0].shape) - 1
    if place < 0:
        labels.leave_alone(call, "it moves the batch axis")
        return
    axes.insert(place, None)
    labels.put(call.outputs[0], axes)


@rule(layers.Dropout, layers.AlphaDropout)
def _dropout(labels: Labels, call: Call) -> None:
    if any(size not in (None, 1) for size in call.layer.noise_shape or ()):
        labels.leave_alone(call, "its noise has a fixed shape")
    else:
        _each(labels, call)


@rule(layers.Activation)
def _activation(labels: Labels, call: Call) -> None:
    axes = labels.of(call.inputs[0])
    if activation_mixes(call.layer):
        labels.pin(*axes, reason=MIXES)
    labels.put(call.outputs[0], axes)


@rule(
    *(layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum, CustomScaleLayer),
    *(numpy.Add, numpy.Subtract, numpy.Multiply, numpy.Divide, numpy.TrueDivide, numpy.DivideNoNan),
    *(numpy.FloorDivide, numpy.Mod, numpy.Fmod, numpy.Power, numpy.Arctan2, numpy.Hypot, numpy.Heaviside),
    *(numpy.Maximum, numpy.Minimum, numpy.Fmax, numpy.Fmin, numpy.Logaddexp, numpy.Logaddexp2, numpy.Nextafter),
    *(numpy.LogicalAnd, numpy.LogicalOr, numpy.LogicalXor, numpy.Isclose, numpy.Ldexp, numpy.Gcd, numpy.Lcm),
    *(numpy.BitwiseAnd, numpy.BitwiseOr, numpy.BitwiseXor, numpy.BitwiseLeftShift, numpy.BitwiseRightShift),
    *(numpy.LeftShift, numpy.RightShift, numpy.Where, numpy.Select, nn.Polar),
    *(numpy.Equal, numpy.NotEqual, numpy.Less, numpy.LessEqual, numpy.Greater, numpy.GreaterEqual),
    several=True,
)
def _merge(labels: Labels, call: Call) -> None:
    """Unites the labels of its inputs axis by axis, counted from the last one, as they are broadcast."""
    (output,) = call.outputs
    rank = len(output.shape)
    if all(len(tensor.shape) != rank for tensor in call.inputs):
        labels.leave_alone(call, "it moves the batch axis")
        return
    constants = [np.shape(value) for value in _constants(call)]
    merged, blocks = [], []
    for axis in range(1 - rank, 0):
        vector = _united(labels, call.inputs, axis, output.shape[axis])
        fixed = any(len(shape) >= -axis and shape[axis] > 1 for shape in constants)
        if fixed:
            labels.pin(vector, reason="it takes a constant with a value for each of them")
        present = [tensor for tensor in call.inputs if len(tensor.shape) > -axis and tensor.shape[axis] != 1]
        equal = [blocks_of(labels, tensor)[axis] for tensor in present]
        blocks.append(None if fixed else common_blocks(equal, output.shape[axis]))
        merged.append(vector)
    labels.put(output, merged)
    put_blocks(labels, output, blocks)


def _constants(call: Call) -> list[Any]:
    """Returns the operands of a merge that are not symbolic tensors."""
    given = named_arguments(call).values() if not isinstance(call.layer, keras.Layer) else constants_of(call)
    operands: list[Any] = []
    for value in given:
        several = isinstance(value, (list, tuple)) and any(_symbolic(each) for each in value)
        operands.extend(value if several else [value])
    return [value for value in operands if value is not None and not _symbolic(value)]


def _symbolic(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def _united(labels: Labels, tensors: Sequence[keras.KerasTensor], axis: int, size: int | None) -> Vector:
    """Unites what the tensors have along an axis; one that is broadcast along it keeps its single position."""
    full: list[Vector] = []
    for tensor in tensors:
        if len(tensor.shape) < -axis:
            continue
        vector = along(labels, tensor, axis)
        if tensor.shape[axis] == 1 and size != 1:
            labels.pin(vector, reason="it repeats them along the axis of another input")
        else:
            full.append(vector)
    return united(labels, full)


def along(labels: Labels, tensor: keras.KerasTensor, axis: int) -> Vector:
    """Returns the labels along an axis that is counted from the last one; none along the batch axis."""
    return None if -axis == len(tensor.shape) else labels.of(tensor)[axis]


def united(labels: Labels, vectors: Axes | list[Vector]) -> Vector:
    """Unites vectors of one size; if one has no labels, the others are pinned."""
    known = [vector for vector in vectors if vector is not None]
    if len(known) < len(vectors):
        labels.pin(*known, reason="another of its inputs has fixed channels")
        return None
    for vector in known[1:]:
        labels.unite(known[0], vector)
    return known[0] if known else None
