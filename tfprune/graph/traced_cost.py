"""Multiply-adds of calls that no rule describes, counted in the TensorFlow graph that a call makes.

A layer without a rule is called once on symbolic inputs of one example. Of the graph, only what the outputs depend on
is counted. Products (matrix products, convolutions, einsum) count by their static shapes, a loop as often as it runs,
of several branches the most expensive one. All other operations cost nothing, as in closed form. A dilated convolution
counts with the rows and columns that TensorFlow pads it with.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np
import tensorflow as tf

from tfprune.graph.calls import Call
from tfprune.keras_private import flat_layers, function_graph, takes_training

_OPAQUE = ("PyFunc", "CudnnRNN", "FFT", "Conv2DBackpropFilter", "Cholesky", "Svd", "MatrixInverse", "MatrixSolve", "Qr")
"""Parts of the names of operations that multiply, but whose shapes do not tell how often."""

_COUNTED: WeakKeyDictionary[Any, dict[Any, int | None]] = WeakKeyDictionary()
"""What was counted before, by layer and call."""


class _UncountableError(Exception):
    """Part of a graph whose multiply-adds cannot be counted."""


def traced_flops(call: Call) -> int | None:
    """Counts the multiply-adds of one call for one example; unknown sizes count as 1.

    Args:
        call: A call of a layer or operation. Neither it nor its weights are changed.

    Returns:
        The number; None if it is not known: the call does not run on one symbolic example, or contains a loop whose
        number of steps is not known, or operations that are not TensorFlow's.
    """
    known = _COUNTED.setdefault(call.layer, {})
    shapes = tuple((tensor.shape, tensor.dtype) for tensor in call.inputs)
    key = shapes if call.node is None else (shapes, id(call.node))
    if key not in known:
        known[key] = _count(call)
    count = known[key]
    return None if count is None else call.per_example(count)


def estimated_flops(call: Call) -> int:
    """Estimates the multiply-adds of a call that cannot be counted: kernels times positions.

    Args:
        call: The call.

    Returns:
        The number of weights in its matrices, each used once at each position of its largest input or output; at least
        one for each value of its outputs.
    """
    sizes = [[size or 1 for size in tensor.shape[1:]] for tensor in (*call.inputs, *call.outputs)]
    places = max((prod(each[:-1]) for each in sizes), default=1)
    kernels = sum(prod(weight.shape) for weight in getattr(call.layer, "weights", ()) if len(weight.shape) > 1)
    return call.per_example(max(places * kernels, sum(map(prod, sizes[len(call.inputs) :]))))


def _count(call: Call) -> int | None:
    if not call.inputs:
        return 0  # an input of the model
    try:
        graph = traced_graph(call)
        return _graph_flops(graph, graph.outputs)
    except Exception:  # a layer may do anything, and fail in any way
        return None


def traced_graph(call: Call) -> Any:
    """Returns the graph that TensorFlow traces of a call on one example, in inference mode; unknown sizes are 1.

    Args:
        call: A call of a layer or operation, which may raise any error.
    """
    named: dict[str, Any] = {"training": False} if takes_training(call.layer) else {}
    layer: Any = call.layer

    def run(*tensors: tf.Tensor) -> list[tf.Tensor]:
        positional: tuple[Any, ...] = tensors
        others: dict[str, Any] = {}
        if call.node is not None:
            values = {id(symbol): tensor for symbol, tensor in zip(call.inputs, tensors, strict=True)}
            positional, others = call.arguments(values)
        with keras.StatelessScope():  # so that losses and states are not kept
            return keras.tree.flatten(layer(*positional, **(others | named)))

    signature = [
        tf.TensorSpec([1, *(size or 1 for size in tensor.shape[1:])], keras.backend.standardize_dtype(tensor.dtype))
        for tensor in call.inputs
    ]
    with _portable(layer), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the sizes, which are not the user's
        return tf.function(run, autograph=False).get_concrete_function(*signature).graph


@contextmanager
def _portable(layer: Any) -> Iterator[None]:
    """Lets recurrent layers run step by step, as on CPUs: cuDNN's one operation would hide the products."""
    within = flat_layers(layer) if isinstance(layer, keras.Layer) else []
    parts: list[Any] = [each for each in within if hasattr(each, "use_cudnn")]
    before = [part.use_cudnn for part in parts]
    try:
        for part in parts:
            part.use_cudnn = False
        yield
    finally:
        for part, value in zip(parts, before, strict=True):
            part.use_cudnn = value


def _graph_flops(graph: Any, outputs: Iterable[tf.Tensor]) -> int:
    """Returns the multiply-adds that some tensors of a graph depend on."""
    done: set[str] = set()
    pending = [tensor.op for tensor in outputs]
    total = 0
    while pending:
        operation = pending.pop()
        if operation.name not in done:
            done.add(operation.name)
            total += _operation_flops(graph, operation)
            pending += [tensor.op for tensor in operation.inputs]
    return total


def _operation_flops(graph: Any, operation: tf.Operation) -> int:
    kind = operation.type
    if kind in PRODUCTS:
        return PRODUCTS[kind](operation)
    if any(name in kind for name in _OPAQUE):
        raise _UncountableError(kind)
    called = [_function_flops(graph, name) for name in _functions(operation)]
    if not any(called):
        return 0
    if kind in ("While", "StatelessWhile"):
        return sum(called) * _steps(graph, operation)
    return max(called) if kind in ("If", "StatelessIf", "Case", "StatelessCase") else sum(called)


def _functions(operation: tf.Operation) -> list[str]:
    """Returns the names of the functions that an operation calls."""
    values = operation.node_def.attr.values()
    return [each.name for value in values for each in (value.func, *value.list.func) if each.name]


def _function_flops(graph: Any, name: str) -> int:
    function = function_graph(graph, name)
    return _graph_flops(function, function.outputs)


def _steps(graph: Any, operation: tf.Operation) -> int:
    """Returns how often a loop runs, if it is written with a limit that depends on sizes only."""
    limit = operation.inputs[1]
    ancestors, pending = set(), [limit.op]
    while pending:
        each = pending.pop()
        ancestors.add(each.type)
        pending += [tensor.op for tensor in each.inputs]
    if "Placeholder" in ancestors or any("Variable" in kind or "Random" in kind for kind in ancestors):
        raise _UncountableError(operation.name)
    with tf.compat.v1.Session(graph=graph, config=tf.compat.v1.ConfigProto(device_count={"GPU": 0})) as session:
        steps = int(np.asarray(session.run(limit)))
    if steps < 0:
        raise _UncountableError(operation.name)
    return steps


def _sizes(tensor: tf.Tensor) -> list[int]:
    if None in (sizes := tensor.shape.as_list()):
        raise _UncountableError(tensor.name)
    return sizes


def _matrix_product(operation: tf.Operation) -> int:
    """Returns the size of the result times that of the axis that is summed over."""
    transposed = "transpose_a" if operation.type == "MatMul" else "adj_x"
    axis = -2 if operation.get_attr(transposed) else -1
    return prod(_sizes(operation.outputs[0])) * _sizes(operation.inputs[0])[axis]


def _convolution(operation: tf.Operation) -> int:
    """Returns the size of the result times the weights `[window..., in]` of one output channel."""
    return prod(_sizes(operation.outputs[0])) * prod(_sizes(operation.inputs[1])[:-1])


def _depthwise(operation: tf.Operation) -> int:
    return prod(_sizes(operation.outputs[0])) * prod(_sizes(operation.inputs[1])[:-2])


def _transposed_convolution(operation: tf.Operation) -> int:
    """Returns the size of what is read times the weights `[window..., out]` that each value is multiplied by."""
    return prod(_sizes(operation.inputs[2])) * prod(_sizes(operation.inputs[1])[:-1])


def _einsum(operation: tf.Operation) -> int:
    """Returns the number of combinations of all indices; one operand alone is not multiplied."""
    operands = operation.get_attr("equation").decode().split("->")[0].split(",")
    if len(operands) == 1:
        return 0
    sizes: dict[str, int] = {}
    for letters, tensor in zip(operands, operation.inputs, strict=True):
        before, dots, after = letters.partition("...")
        shape = _sizes(tensor)
        many = len(shape) - len(before) - len(after) if dots else 0
        names = [*before, *(f"...{index}" for index in range(-many, 0)), *after]
        for name, size in zip(names, shape, strict=True):
            sizes[name] = max(size, sizes.get(name, 1))
    return prod(sizes.values())


PRODUCTS: dict[str, Callable[[tf.Operation], int]] = {
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2"), _matrix_product),
    **dict.fromkeys(("Conv", "Conv2D", "Conv3D"), _convolution),
    "DepthwiseConv2dNative": _depthwise,
    **dict.fromkeys(("Conv2DBackpropInput", "Conv3DBackpropInputV2"), _transposed_convolution),
    "Einsum": _einsum,
}
"""How to count the multiply-adds of TensorFlow's products."""
