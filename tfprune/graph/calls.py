"""The calls that make up a functional model, in one well-defined order."""

from dataclasses import dataclass
from typing import Any

import keras

from tfprune.errors import UnsupportedLayerError


@dataclass(frozen=True)
class Call:
    """One application of a layer (or bare operation) to symbolic tensors.

    Attributes:
        layer: The layer or operation.
        inputs: Its symbolic input tensors.
        outputs: Its symbolic output tensors.
        node: Keras' own record, which also holds the other arguments of the call.
    """

    layer: keras.Operation
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]
    node: Any

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.layer.name


def model_calls(model: keras.Model) -> tuple[Call, ...]:
    """Lists a functional or sequential model's calls, producers before consumers.

    The order is depth first from the outputs, inputs in the order in which the layer takes them. Unlike
    `model.layers`, which sorts by distance from the output, it follows the way a model was written down:
    in `Add()([shortcut, branch])` the whole shortcut comes first.

    Args:
        model: A functional or sequential model, built.

    Returns:
        The calls, input layers included.

    Raises:
        UnsupportedLayerError: The model has no graph (a subclassed model).
    """
    graph = getattr(model, "_functional", None) or model
    if not isinstance(graph, keras.src.models.functional.Functional):
        raise UnsupportedLayerError(
            f"expected a functional or sequential model, received {model.name} ({type(model).__name__}), whose graph "
            "of layers Keras does not know; rebuild it as keras.Model(inputs, outputs)"
        )
    calls: list[Call] = []
    done: set[int] = set()
    pending = [(_producer(tensor), False) for tensor in reversed(graph.outputs)]
    boundary = {id(tensor) for tensor in graph.inputs}
    while pending:
        node, inputs_done = pending.pop()
        if id(node) in done:
            continue
        if not inputs_done:
            pending.append((node, True))
            if not any(id(tensor) in boundary for tensor in node.output_tensors):
                pending.extend((_producer(tensor), False) for tensor in reversed(node.input_tensors))
            continue
        done.add(id(node))
        calls.append(Call(node.operation, tuple(node.input_tensors), tuple(node.output_tensors), node))
    return tuple(calls)


def _producer(tensor: keras.KerasTensor) -> Any:
    operation, node_index, _ = tensor._keras_history
    return operation._inbound_nodes[node_index]
