"""Opening layers: what a layer computes, as calls of the layers within it and of operations.

Keras records which layers a functional model calls, but not what happens within a layer whose `call` is Python code.
Here this code runs once on symbolic tensors, so that Keras records it. Nothing of the layer changes.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from re import sub
from typing import Any

import keras

from tfprune.errors import first_line
from tfprune.keras_private import (
    VariableReads,
    attributes_replaced,
    calls_forgotten,
    is_produced,
    keras_mask,
    numpy_operations,
    own_variables,
    producer,
    tensors_in,
    traced_call,
)
from tfprune.reprs import short_repr


class Weight(keras.Operation):
    """Stands for a weight that an opened layer uses itself, and not by one of the layers within it.

    Args:
        variable: The weight.
        dtype: The type that the layer reads it in.
    """

    def __init__(self, variable: keras.Variable, dtype: str) -> None:
        super().__init__()
        self.variable, self._dtype = variable, dtype
        self.weights = [variable]

    def call(self) -> Any:
        """Returns the value."""
        return keras.ops.cast(self.variable.value, self._dtype)

    def compute_output_spec(self) -> keras.KerasTensor:
        """Returns a symbolic tensor of the weight's shape."""
        return keras.KerasTensor(self.variable.shape, self._dtype)


class OpeningError(Exception):
    """What stops a layer from being opened, in one line."""


@dataclass(frozen=True, eq=False)
class Opening:
    """What one call of a layer computes.

    Attributes:
        inputs: The symbolic tensors that it was called with.
        outputs: The symbolic tensors that it returns.
        nodes: Keras' records of the calls within it, producers before consumers.
        weights: The weights that it uses itself, and the symbolic tensor that stands for each, by attribute.
    """

    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]
    nodes: tuple[Any, ...]
    weights: dict[str, tuple[Weight, keras.KerasTensor]]

    __repr__ = short_repr


def opened(node: Any, shapes: Sequence[Sequence[int | None]], *, in_training: bool = False) -> Opening:
    """Runs the code of a layer on symbolic tensors.

    Args:
        node: Keras' record of a call of the layer.
        shapes: The shapes of its inputs, of which some may be more definite than those in the record.
        in_training: Whether it runs as in training.

    Raises:
        OpeningError: The code does not run on symbolic tensors, or does something that Keras does not record.
    """
    layer = node.operation
    if any(keras_mask(tensor) is not None for tensor in node.input_tensors):
        raise OpeningError("its inputs come with masks")
    given = [
        keras.KerasTensor(shape, tensor.dtype, name=tensor.name)
        for shape, tensor in zip(shapes, node.input_tensors, strict=True)
    ]
    arguments, named = node.arguments.fill_in(
        {id(old): new for old, new in zip(node.input_tensors, given, strict=True)}
    )
    weights = {name: Weight(variable, _read_as(layer, variable)) for name, variable in own_variables(layer).items()}
    stand_ins = {name: (weight, weight.compute_output_spec()) for name, weight in weights.items()}
    boundary = {id(tensor) for tensor in (*given, *(tensor for _, tensor in stand_ins.values()))}
    found: list[Opening] = []

    def look(result: Any) -> None:
        outputs = tensors_in(result)
        _check_outputs(outputs, node.output_tensors)
        nodes = tuple(nodes_between(outputs, boundary))
        check_arguments(nodes)
        read = {id(tensor) for each in nodes for tensor in each.input_tensors}
        used = {name: pair for name, pair in stand_ins.items() if id(pair[1]) in read}
        found.append(Opening(tuple(given), tuple(outputs), nodes, used))

    own = {name: pair[1] for name, pair in stand_ins.items()}
    with calls_forgotten(layer), attributes_replaced(layer, own):
        for trusting in (True, False):
            reads = VariableReads()
            try:
                with reads, warnings.catch_warnings(action="ignore"):  # Keras gave them when the model was made
                    traced_call(layer, look, arguments, named, trusting=trusting, in_training=in_training)
            except Exception as error:  # of any code; Keras adds lines to what is raised within a layer
                cause = error
                continue
            if reads.read:
                raise OpeningError(f"it uses the weight {reads.read[0].path}, which none of its attributes holds")
            return found[0]
    raise OpeningError(cause_of(cause)) from cause


def has_training_code(node: Any, opening: Opening) -> bool:
    """Returns whether a layer does in training what the layers within it, called as in training, do not.

    It calls others, or calls some as in inference even then.

    Args:
        node: Keras' record of a call of the layer.
        opening: What this call computes in inference.
    """
    try:
        other = opened(node, [tensor.shape for tensor in opening.inputs], in_training=True)
    except OpeningError:
        return True
    fixed = any(each.arguments.kwargs.get("training") is False for each in other.nodes)
    return fixed or list(map(call_kind, opening.nodes)) != list(map(call_kind, other.nodes))


def call_kind(node: Any) -> tuple[Any, ...]:
    """Returns what recordings of a call in inference and in training have in common."""
    operation = node.operation
    kind = id(operation) if isinstance(operation, keras.Layer) else type(operation)
    return (kind, *(tuple(tensor.shape) for tensor in node.output_tensors))


def cause_of(error: BaseException) -> str:
    """Returns in one line what an error says that passed through Keras, which puts a line before it."""
    text = sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("Exception encountered when")]
    return first_line(type(error)(lines[0])) if lines else first_line(error)


def _read_as(layer: keras.Layer, variable: keras.Variable) -> str:
    casts = layer.autocast and keras.backend.is_float_dtype(variable.dtype)
    return layer.compute_dtype if casts else variable.dtype


def resolve_sizes(nodes: Sequence[Any]) -> None:
    """Lets reshapes run at any number of examples whose code has that number among their sizes, where it is not known.

    Keras records None in its place, as for `ops.reshape(x, (ops.shape(x)[0], -1))`, and cannot run that.
    """
    for node in nodes:
        operation = node.operation
        if not isinstance(operation, numpy_operations.Reshape) or None not in operation.newshape:
            continue
        (tensor,), wanted = node.input_tensors, operation.newshape
        known = [size for size in tensor.shape if size is not None]
        if len(known) < len(tensor.shape) - 1 or wanted.count(None) > 1:
            raise OpeningError(f"it reshapes to {tuple(wanted)}, of which several sizes are not known")
        rest = prod(known) // max(1, prod(size for size in wanted if size not in (None, -1)))
        operation.newshape = tuple(-1 if size is None else rest if size == -1 else size for size in wanted)


def check_arguments(nodes: Sequence[Any]) -> None:
    """Checks that no call takes a weight, which would count as a constant there, or sizes that are not known."""
    for node in nodes:
        sizes = [getattr(node.operation, name, None) for name in ("newshape", "shape")]
        if not isinstance(node.operation, keras.Layer) and any(
            isinstance(each, tuple | list) and None in each for each in sizes
        ):
            raise OpeningError("it needs to know the sizes of its inputs")
        for value in keras.tree.flatten((node.arguments.args, node.arguments.kwargs)):
            if isinstance(value, keras.Variable):
                raise OpeningError(f"it uses the weight {value.path}, which none of its attributes holds")


def _check_outputs(found: Sequence[Any], expected: Sequence[keras.KerasTensor]) -> None:
    if len(found) != len(expected) or not all(isinstance(tensor, keras.KerasTensor) for tensor in found):
        raise OpeningError("on symbolic tensors it returns something else")
    for new, old in zip(found, expected, strict=True):
        if len(new.shape) != len(old.shape) or new.dtype != old.dtype:  # a class may compute sizes that it has not
            raise OpeningError(f"on symbolic tensors it returns {new.dtype} {new.shape}, not {old.dtype} {old.shape}")


def nodes_between(outputs: Sequence[keras.KerasTensor], boundary: set[int]) -> Iterator[Any]:
    """Yields the records of the calls that lead from some tensors to others, depth first from the outputs."""

    def before(tensors: Sequence[keras.KerasTensor]) -> list[tuple[Any, bool]]:
        return [(record(tensor), False) for tensor in reversed(tensors) if id(tensor) not in boundary]

    def record(tensor: keras.KerasTensor) -> Any:
        if not is_produced(tensor):
            raise OpeningError("it uses a symbolic tensor that is none of its inputs")
        return producer(tensor)

    done: set[int] = set()
    pending = before(outputs)
    while pending:
        node, inputs_done = pending.pop()
        if id(node) in done:
            continue
        if inputs_done:
            done.add(id(node))
            yield node
        else:
            pending.append((node, True))
            pending.extend(before(node.input_tensors))


def needed_part(opening: Opening, without: Mapping[int, Sequence[int]]) -> Opening:
    """Returns what a layer computes but for some calls, and what only these need; see `rebuild`."""
    needed = {id(tensor) for tensor in opening.outputs}
    nodes = []
    for node in reversed(opening.nodes):
        if any(id(tensor) in needed for tensor in node.output_tensors):
            nodes.append(node)
            positions = without.get(id(node), range(len(node.input_tensors)))
            needed.update(id(node.input_tensors[position]) for position in positions)
    return replace(opening, nodes=tuple(reversed(nodes)))


def constants(node: Any) -> str:
    """Returns the arguments of a recorded call that are no symbolic tensors, to be compared with those of another."""
    places = (node.arguments.args, node.arguments.kwargs)
    return repr(keras.tree.map_structure(lambda each: isinstance(each, keras.KerasTensor) or each, places))


def run_opening(
    opening: Opening,
    inputs: Sequence[Any],
    call: Callable[[Any, Mapping[int, Any]], Sequence[Any]],
    weight: Callable[[keras.Variable], Any],
) -> list[Any]:
    """Runs what a layer computes.

    Args:
        opening: The layer's code.
        inputs: A value for each input.
        call: Carries out a recorded call and returns its outputs, given the record and values of symbolic tensors.
        weight: Maps a weight that the layer uses itself to the value to use.

    Returns:
        A value for each output.
    """
    values = {id(symbol): value for symbol, value in zip(opening.inputs, inputs, strict=True)}
    values.update((id(symbol), weight(each.variable)) for each, symbol in opening.weights.values())
    for node in opening.nodes:
        made = call(node, values)
        values.update((id(symbol), value) for symbol, value in zip(node.output_tensors, made, strict=True))
    return [values[id(symbol)] for symbol in opening.outputs]
