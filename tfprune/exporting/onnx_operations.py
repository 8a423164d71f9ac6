"""TensorFlow's operations that tf2onnx does not translate, made of operations that ONNX has.

Each handler takes tf2onnx's graph and a node of it, and replaces the node. The formulas keep the relative precision
where the textbook's lose it, as `exp(x) - 1` does near 0.
"""

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

Node = Callable[..., str]
"""Adds an operation to the graph, given its name and its inputs, tensors or numbers; returns its output."""


def _erfc(node: Node, x: str) -> str:
    return node("Sub", 1, node("Erf", x))


def _expm1(node: Node, x: str) -> str:
    """Returns `tanh(x / 2) (exp(x) + 1)`."""
    return node("Mul", node("Tanh", node("Mul", x, 0.5)), node("Add", node("Exp", x), 1))


def _log1p(node: Node, x: str) -> str:
    """Returns `2 artanh(x / (x + 2))` for small numbers, `log(x + 1)` for others."""
    small = node("Mul", node("Atanh", node("Div", x, node("Add", x, 2))), 2)
    return node("Where", node("Less", node("Abs", x), 0.5), small, node("Log", node("Add", x, 1)))


def _handler(formula: Callable[[Node, str], str]) -> Callable[..., None]:
    """Returns what tf2onnx calls to replace a node of one input by a formula."""

    def replace(graph: Any, old: Any, *_: Any) -> None:
        dtype, (x,), (output,) = graph.get_dtype(old.output[0]), old.input, old.output
        number, names = np.float64 if dtype == _DOUBLE else np.float32, count()

        def node(name: str, *inputs: str | float) -> str:
            tensors = [each if isinstance(each, str) else constant(each) for each in inputs]
            return graph.make_node(name, tensors).output[0]

        def constant(value: float) -> str:
            return graph.make_const(f"{old.name}_{next(names)}", np.array(value, number)).output[0]

        shape = graph.get_shape(output)
        graph.remove_node(old.name)
        graph.make_node("Identity", [formula(node, x)], outputs=[output], shapes=[shape], dtypes=[dtype])

    return replace


def _select(graph: Any, old: Any, *_: Any) -> None:
    """Replaces `tf.where` by ONNX's `Where`; tf2onnx's sum of products makes NaN of an infinity that is not chosen."""
    (output,), inputs = old.output, list(old.input)
    shape, dtype = graph.get_shape(output), graph.get_dtype(output)
    graph.remove_node(old.name)
    graph.make_node("Where", inputs, name=old.name, outputs=[output], shapes=[shape], dtypes=[dtype])


_DOUBLE = 11  # onnx.TensorProto.DOUBLE, without the package

HANDLERS = {
    "Erfc": _handler(_erfc),
    "Expm1": _handler(_expm1),
    "Log1p": _handler(_log1p),
    "SelectV2": _select,
}
"""The replacement of a node by TensorFlow's name of its operation."""
