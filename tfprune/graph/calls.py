"""The calls of a functional model in one well-defined order, with nested models opened."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from inspect import signature
from os import PathLike
from typing import Any

import keras
import numpy as np
from keras import ops

from tfprune.arrays import check_finite
from tfprune.errors import ConfigError, UnsupportedLayerError, suggestion
from tfprune.keras_private import Functional, flat_layers, functional_part, input_structure, producer, set_mask
from tfprune.layers import GlobalSubnet
from tfprune.reprs import described, short_repr

Ignored = str | Any
"""Path or pattern of layers (or weights), or a layer, or a nested model."""


@dataclass(frozen=True)
class Wrapper:
    """The layer around a layer that has no calls of its own, such as `TimeDistributed`.

    Attributes:
        layer: The outer layer.
        path: The attribute that holds the inner one, which is also a key of the configuration.
    """

    layer: keras.Operation
    path: str


@dataclass(frozen=True)
class Call:
    """One application of a layer (or bare operation) to symbolic tensors.

    Attributes:
        layer: The layer or operation.
        name: Its name; `outer/inner` for a layer within a nested model. All calls of a layer have the name of the first
            one, even if it is called both within a nested model and outside.
        inputs: Its symbolic input tensors.
        outputs: Its symbolic output tensors.
        node: Keras' own record, which also has the other arguments of the call; None for a wrapped layer, and for
            `FoldTime` and `UnfoldTime`.
        wrapper: The layer around it, whose name this call has.
        times: How often it runs for each example: at each point in time within `TimeDistributed`, else once.
    """

    layer: keras.Operation
    name: str
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]
    node: Any
    wrapper: Wrapper | None = None
    times: int = 1

    __repr__ = short_repr

    def arguments(self, values: Mapping[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns positional and named arguments of the call.

        Args:
            values: A value for each symbolic input tensor, by its `id`.

        Returns:
            The arguments, constants included.
        """
        if self.node is None:
            return tuple(values[id(tensor)] for tensor in self.inputs), {}
        written = {
            id(raw): values[id(tensor)] for raw, tensor in zip(self.node.input_tensors, self.inputs, strict=True)
        }
        return self.node.arguments.fill_in(written)


class FoldTime(keras.Operation):
    """Makes examples of all points in time: `[batch, time, ...]` becomes `[batch * time, ...]`."""

    def call(self, inputs: Any) -> Any:
        """Returns the inputs in the new shape."""
        return ops.reshape(inputs, (-1, *ops.shape(inputs)[2:]))

    def compute_output_spec(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Returns a symbolic tensor of the new shape."""
        return keras.KerasTensor((None, *inputs.shape[2:]), inputs.dtype)


class UnfoldTime(keras.Operation):
    """Undoes `FoldTime`: `[batch * time, ...]` becomes `[batch, time, ...]`."""

    def call(self, inputs: Any, folded: Any, mask: Any = None) -> Any:
        """Returns the inputs in the shape of what was folded, with the mask `[batch, time]` that this had."""
        unfolded = ops.reshape(inputs, (*ops.shape(folded)[:2], *ops.shape(inputs)[1:]))
        if mask is not None:
            set_mask(unfolded, mask)
        return unfolded

    def compute_output_spec(
        self, inputs: keras.KerasTensor, folded: keras.KerasTensor, mask: keras.KerasTensor | None = None
    ) -> keras.KerasTensor:
        """Returns a symbolic tensor of the new shape."""
        return keras.KerasTensor((*folded.shape[:2], *inputs.shape[1:]), inputs.dtype)


_FOLD, _UNFOLD = FoldTime(), UnfoldTime()


@dataclass(frozen=True)
class ModelGraph:
    """A model as a flat list of calls.

    Attributes:
        calls: Producers before consumers, input layers included.
        outputs: The symbolic output tensors, as the calls name them.
    """

    calls: tuple[Call, ...]
    outputs: tuple[keras.KerasTensor, ...]

    __repr__ = short_repr


def model_calls(model: keras.Model) -> tuple[Call, ...]:
    """Returns the calls of a model; arguments, order and errors are those of `model_graph`."""
    return model_graph(model).calls


def model_graph(model: keras.Model) -> ModelGraph:
    """Lists a functional or sequential model's calls, producers before consumers.

    The order is depth first from the outputs, with inputs in the order in which the layer takes them. Unlike
    `model.layers`, which sorts by distance from the output, it follows the code of the model: in
    `Add()([shortcut, branch])`, the whole shortcut comes first. A nested model is replaced by its own calls, once for
    each time it is called; so is one within `TimeDistributed`, between `FoldTime` and `UnfoldTime`, as if all points in
    time were examples.

    Args:
        model: A functional or sequential model, built.

    Returns:
        The calls, with the input layers of the model, but not those of nested models.

    Raises:
        UnsupportedLayerError: The model has no graph (a subclassed model).
    """
    graph = functional_graph(model)
    if graph is None:
        raise no_graph(model)
    opened = _Opened()
    outputs = opened.open(graph, "", {})
    return ModelGraph(tuple(opened.calls), tuple(outputs))


def no_graph(model: Any) -> UnsupportedLayerError:
    """Returns the error for what should be a functional or sequential model, and is not."""
    if not isinstance(model, keras.Operation):
        hint = "; load it first: tfprune.load_model(path)" if isinstance(model, str | PathLike) else ""
        return UnsupportedLayerError(f"expected a functional or sequential model, received {described(model)}{hint}")
    if isinstance(model, keras.Sequential) and not model.built:
        return UnsupportedLayerError(
            f"expected a built model, received {model.name} (Sequential), which does not know its inputs; begin it "
            "with keras.Input(shape), or call model.build(shape)"
        )
    return UnsupportedLayerError(
        f"expected a functional or sequential model, received {model.name} ({type(model).__name__}), which has no "
        "graph of layers; rebuild it as keras.Model(inputs, outputs)"
    )


def functional_graph(model: Any) -> Any:
    """Returns Keras' functional graph of a model; None if it has none, is no model, or has a `call` of its own.

    Args:
        model: Any model, layer or operation.
    """
    if getattr(type(model), "call", None) not in (Functional.call, keras.Sequential.call, GlobalSubnet.call):
        return None  # such a class may compute anything
    return functional_part(model)


def check_not_quantized(model: keras.Model) -> None:
    """Checks that weights are numbers in floating point, and not integers with scales beside them.

    Args:
        model: Any model.

    Raises:
        UnsupportedLayerError: This is no model, or Keras has quantized layers of it (`model.quantize("int8")`).
    """
    if not isinstance(model, keras.Layer):
        raise no_graph(model)
    quantized = [
        layer.name
        for layer in flat_layers(model)
        if isinstance(layer.dtype_policy, keras.dtype_policies.QuantizedDTypePolicy)
    ]
    if quantized:
        raise UnsupportedLayerError(
            f"expected a model in floating point, received layers that Keras has quantized: {', '.join(quantized)}; "
            "prune, convert and export the model first, and quantize the result"
        )


def check_weights(model: keras.Model) -> None:
    """Checks that weights are finite numbers in floating point, which pruning can compare.

    Args:
        model: Any model.

    Raises:
        UnsupportedLayerError: See `check_not_quantized`.
        ConfigError: A weight has NaN or infinity in it.
    """
    check_not_quantized(model)
    check_finite_weights(model)


def check_finite_weights(model: keras.Model) -> None:
    """Raises `ConfigError` if a weight of a model has NaN or infinity in it."""
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            array = np.asarray(weight)
            check_finite(array, f"the weight {weight.path} of {model.name}", within=array.dtype)


def as_list(ignored: Ignored | Iterable[Ignored]) -> list[Ignored]:
    """Returns what a user gives as `ignore`, one or several names, patterns or layers, as a list.

    Raises:
        ConfigError: Something in it is neither a text nor a layer.
    """
    several = isinstance(ignored, Iterable) and not isinstance(ignored, str | keras.Operation | np.ndarray)
    found = list(ignored) if several else [ignored]
    for each in found:
        if not isinstance(each, str | keras.Operation):
            raise ConfigError(
                f"ignore: expected names, patterns such as stage1_*, or layers, received {described(each)}"
            )
    return found


def matching_names(calls: Sequence[Call], ignored: Ignored, further: Iterable[str] = ()) -> set[str]:
    """Finds the layers that a path, a pattern, a layer or a nested model stands for.

    Args:
        calls: The calls of a model.
        ignored: A path (`outer` for all layers in a nested model), a pattern such as `stage1_*`, or a layer.
        further: Names that a path or pattern may stand for besides those of layers.

    Returns:
        The names; none if nothing matches.
    """
    if isinstance(ignored, str):
        names = {call.name for call in calls} | set(further)
        return {name for name in names if fnmatchcase(name, ignored) or name.startswith(f"{ignored}/")}
    within = {id(layer) for layer in flat_layers(ignored)} if isinstance(ignored, keras.Layer) else {id(ignored)}
    return {call.name for call in calls if id(call.layer) in within}


def no_such_layer(setting: str, name: str, known: Iterable[str]) -> str:
    """Returns the error message for a name or pattern in a setting that matches no layer.

    Args:
        setting: The setting.
        name: What it has.
        known: The names that match.
    """
    near = suggestion(name, known) or "; check the name"
    return f"{setting}: expected layers of the model, received {name!r}, which it lacks{near}"


class _Opened:
    """Collects the calls of a graph and of the graphs nested in it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._names: dict[int, str] = {}
        self._used: set[int] = set()

    def open(
        self, graph: Any, prefix: str, tensors: dict[int, keras.KerasTensor], times: int = 1
    ) -> list[keras.KerasTensor]:
        """Adds a graph's calls and returns its outputs.

        Args:
            graph: A Keras functional graph.
            prefix: Prefix of the names of its layers.
            tensors: The tensor to use instead of one that Keras recorded, by `id`; it is filled.
            times: How often the graph runs for each example.
        """
        for node in ordered_nodes(graph):
            if node.is_input and prefix:
                continue
            inputs = [tensors[id(tensor)] for tensor in node.input_tensors]
            inner = _opened_graph(node)
            name = prefix + node.operation.name
            if inner is not None:
                within = {id(tensor): value for tensor, value in zip(inner.inputs, inputs, strict=True)}
                outputs = self.open(inner, f"{name}/", within, times)
            elif timed_graph(node.operation) is not None and _opens(node):
                outputs = [self._over_time(timed_graph(node.operation), name, inputs, times)]
            else:
                name = self._names.setdefault(id(node.operation), name)
                outputs = self._outputs(node, inputs)
                self.calls.append(Call(node.operation, name, tuple(inputs), tuple(outputs), node, times=times))
            tensors.update((id(old), new) for old, new in zip(node.output_tensors, outputs, strict=True))
        return [tensors[id(tensor)] for tensor in graph.outputs]

    def _over_time(self, graph: Any, name: str, inputs: Sequence[keras.KerasTensor], times: int) -> keras.KerasTensor:
        """Adds the calls of a graph that runs at each point in time, and returns its output over time."""
        tensor, *mask = inputs
        source = _FOLD.compute_output_spec(tensor)
        self.calls.append(Call(_FOLD, f"{name}.fold", (tensor,), (source,), None))
        within = {id(graph.inputs[0]): source}
        (made,) = self.open(graph, f"{name}/", within, times * (tensor.shape[1] or 1))
        target = _UNFOLD.compute_output_spec(made, tensor)
        self.calls.append(Call(_UNFOLD, f"{name}.unfold", (made, tensor, *mask), (target,), None))
        return target

    def _outputs(self, node: Any, inputs: list[keras.KerasTensor]) -> list[keras.KerasTensor]:
        """Returns what a node outputs; if the nested model is called at other sizes than its own, of those sizes."""
        pairs = list(zip(node.input_tensors, inputs, strict=True))
        if all(raw.shape[1:] == tensor.shape[1:] for raw, tensor in pairs):
            return [self._fresh(tensor) for tensor in node.output_tensors]
        # A nested model casts what it is given.
        given = {id(raw): keras.KerasTensor(tensor.shape, raw.dtype, raw.sparse) for raw, tensor in pairs}
        arguments, options = node.arguments.fill_in(given)
        made = keras.tree.flatten(node.operation.compute_output_spec(*arguments, **options))
        return [
            keras.KerasTensor(new.shape, old.dtype, old.sparse, name=old.name)
            for new, old in zip(made, node.output_tensors, strict=True)
        ]

    def _fresh(self, tensor: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the tensor, or a copy if it was used before: in a graph that is opened twice, it has two values."""
        if id(tensor) in self._used:
            tensor = keras.KerasTensor(tensor.shape, tensor.dtype, name=tensor.name)
        self._used.add(id(tensor))
        return tensor


def _opened_graph(node: Any) -> Any:
    """Returns the graph of a nested model, if it is called with its inputs in their own order and of their own rank."""
    graph = functional_graph(node.operation)
    if graph is None or not takes_in_order(graph, node.arguments.args):
        return None
    ranks = [[len(tensor.shape) for tensor in tensors] for tensors in (node.input_tensors, graph.inputs)]
    return graph if ranks[0] == ranks[1] else None


def timed_graph(operation: Any) -> Any:
    """Returns the graph of the model that a layer of class `TimeDistributed` applies; None if there is none."""
    return functional_graph(operation.layer) if type(operation) is keras.layers.TimeDistributed else None


def _opens(node: Any) -> bool:
    """Returns whether a model runs at each point in time as it would run on these as examples.

    A mask, which the layer gives to the model, must be of no concern to the layers in it.
    """
    graph = timed_graph(node.operation)
    within: list[Any] = flat_layers(node.operation.layer)
    tensor, *mask = node.input_tensors
    unread = not any("mask" in signature(each.call).parameters for each in within if functional_graph(each) is None)
    stateful = any(getattr(each, "stateful", False) for each in within)
    single = len(graph.inputs) == len(graph.outputs) == 1 and len(graph.inputs[0].shape) == len(tensor.shape) - 1
    return single and not stateful and (not mask or unread)


def takes_in_order(graph: Any, arguments: Sequence[Any]) -> bool:
    """Returns whether a model is called with its inputs in their own order, not, say, with a dict instead of a list."""
    return len(graph.inputs) == 1 or (len(arguments) > 0 and type(arguments[0]) is type(input_structure(graph)))


def ordered_nodes(graph: Any, passed: Mapping[int, Sequence[int]] | None = None) -> Iterator[Any]:
    """Yields Keras' nodes of one graph, depth first from the outputs.

    Args:
        graph: A Keras functional graph.
        passed: Of nodes by `id` of which some inputs alone are needed: their positions.
    """
    passed = passed or {}
    done: set[int] = set()
    pending = [(producer(tensor), False) for tensor in reversed(graph.outputs)]
    boundary = {id(tensor) for tensor in graph.inputs}
    while pending:
        node, inputs_done = pending.pop()
        if id(node) in done:
            continue
        if not inputs_done:
            pending.append((node, True))
            if not _holds(node.output_tensors, boundary):
                needed = node.input_tensors
                if id(node) in passed:
                    needed = [needed[position] for position in passed[id(node)]]
                pending.extend((producer(tensor), False) for tensor in reversed(needed))
            continue
        done.add(id(node))
        yield node


def _holds(tensors: Sequence[keras.KerasTensor], ids: set[int]) -> bool:
    return any(id(tensor) in ids for tensor in tensors)
