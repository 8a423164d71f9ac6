"""Rules for layers and operations that treat every channel separately, and for merges, which unite channels."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Axes, Labels, Vector
from tfprune.graph.rules.lookup import constants_of, keep_order, mixing_activation, named_arguments, rule
from tfprune.graph.rules.uniform import blocks_of, common_blocks, fill_uniform, put_blocks
from tfprune.keras_private import CustomScaleLayer, StochasticDepth
from tfprune.keras_private import core_operations as core
from tfprune.keras_private import math_operations as math
from tfprune.keras_private import nn_operations as nn
from tfprune.keras_private import numpy_operations as numpy

layers = keras.layers
_INFINITE_AT_ZERO = (numpy.Log, numpy.Log2, numpy.Log10, numpy.Reciprocal, math.Rsqrt)
_DIVIDING = (numpy.Divide, numpy.TrueDivide, numpy.FloorDivide, numpy.Mod, numpy.Fmod, numpy.Power)


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
    all_axes=True,
)
def _each(labels: Labels, call: Call) -> None:
    (tensor,), (output,) = call.inputs, call.outputs
    if tensor.shape != output.shape:
        labels.leave_alone(call, "its output has another shape than its input")
        return
    if isinstance(call.layer, _INFINITE_AT_ZERO):
        keep_order(labels, call, *labels.axes(tensor))
    labels.put_axes(output, labels.axes(tensor))
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
    if mixed := mixing_activation(call.layer):
        labels.pin(*axes, reason=mixed)
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
    all_axes=True,
)
def _merge(labels: Labels, call: Call) -> None:
    """Unites the labels of its inputs axis by axis, counted from the last one, as they are broadcast."""
    (output,) = call.outputs
    rank = len(output.shape)
    if all(len(tensor.shape) != rank for tensor in call.inputs):
        labels.leave_alone(call, "it moves the batch axis")
        return
    merged = [_united(labels, call.inputs, axis, output.shape[axis]) for axis in range(-rank, 0)]
    blocks = []
    for axis in range(1 - rank, 0):
        present = [tensor for tensor in call.inputs if len(tensor.shape) > -axis and tensor.shape[axis] != 1]
        blocks.append(common_blocks([blocks_of(labels, tensor)[axis] for tensor in present], output.shape[axis]))
    if isinstance(call.layer, _DIVIDING) and not _finite_at_zero(named_arguments(call)["x2"]):
        keep_order(labels, call, *merged)
    for name, constant in _constants(call):
        shape = np.shape(constant)
        varying = [axis for axis in range(-min(len(shape), rank), 0) if shape[axis] > 1]
        _slice_constant(labels, call, name, varying, [merged[axis] for axis in varying])
        blocks = [None if axis - rank + 1 in varying else each for axis, each in enumerate(blocks)]
    labels.put_axes(output, merged)
    put_blocks(labels, output, blocks)


def _constants(call: Call) -> list[tuple[str, Any]]:
    """Returns the operands of a merge that are not symbolic tensors, each with its argument, if it is one."""
    if isinstance(call.layer, keras.Layer):
        return [("", value) for value in constants_of(call)]
    found: list[tuple[str, Any]] = []
    for name, value in named_arguments(call).items():
        if isinstance(value, (list, tuple)) and any(_symbolic(each) for each in value):
            found.extend(("", each) for each in value if not _symbolic(each))
        elif value is not None and not _symbolic(value):
            found.append((name, value))
    return found


def _slice_constant(labels: Labels, call: Call, name: str, axes: list[int], vectors: list[Vector]) -> None:
    """Notes that a constant loses the positions that the channels it is merged with lose."""
    known = [(axis, vector) for axis, vector in zip(axes, vectors, strict=True) if vector is not None]
    if not known:
        return
    columns = call.outputs[0].shape[-1]
    taken_for_bias = isinstance(call.layer, numpy.Add) and name == "x2" and len(axes) == 1 and axes[0] != -1
    if not name:
        labels.pin(*vectors, reason="it takes a constant with a value for each of them")
    elif taken_for_bias and (columns is None or len(known[0][1]) >= columns):
        labels.pin(*vectors, reason="Keras adds a constant along the last axis where that is as long")
    else:
        change = partial(_cut, [axis for axis, _ in known])
        labels.edit(call, name, *(vector for _, vector in known), change=change, argument=True)


def _cut(axes: list[int], old: Any, kept: list[np.ndarray]) -> Any:
    for axis, mask in zip(axes, kept, strict=True):
        old = sliced(old, axis, mask)
    return old


def sliced(constant: Any, axis: int, mask: np.ndarray) -> Any:
    """Returns the positions of a constant along an axis that a mask keeps, as an array of the same library."""
    small = np.compress(mask, keras.ops.convert_to_numpy(constant), axis=axis)
    return keras.ops.convert_to_tensor(small) if keras.ops.is_tensor(constant) else small


@rule(nn.BatchNorm)
def _batch_norm_operation(labels: Labels, call: Call) -> None:
    """Slices constant statistics, scales and offsets."""
    tensor = call.inputs[0]
    axes = labels.of(tensor)
    vector = axes[call.layer.axis % len(tensor.shape) - 1]
    if vector is not None:
        for name in ("mean", "variance", "offset", "scale"):
            if named_arguments(call).get(name) is not None:
                labels.edit(call, name, vector, change=partial(_cut, [0]), argument=True)
    labels.put(call.outputs[0], axes)


def _finite_at_zero(second: Any) -> bool:
    """Returns whether dividing zeros by a value, or raising them to its power, gives a number."""
    return not _symbolic(second) and np.ndim(second) == 0 and second > 0


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
    """Returns the labels along an axis that is counted from the last one."""
    return labels.axes(tensor)[axis]


def united(labels: Labels, vectors: Axes | list[Vector]) -> Vector:
    """Unites vectors of one size; if one has no labels, the others are pinned."""
    known = [vector for vector in vectors if vector is not None]
    if len(known) < len(vectors):
        labels.pin(*known, reason="another of its inputs has fixed channels")
        return None
    for vector in known[1:]:
        labels.unite(known[0], vector)
    return known[0] if known else None
