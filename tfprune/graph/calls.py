"""The calls of a functional model in one well-defined order, with nested models opened."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from inspect import signature
from os import PathLike
from re import sub
from typing import Any

import keras
import numpy as np
from keras import ops

from tfprune.arrays import check_finite
from tfprune.errors import ConfigError, UnsupportedLayerError, suggestion
from tfprune.graph.example_sizes import ExampleSizes
from tfprune.graph.model_class import GraphModel
from tfprune.graph.opening import Opening, OpeningError, opened
from tfprune.graph.opening_trial import check_opening
from tfprune.keras_private import (
    Functional,
    flat_layers,
    functional_part,
    has_open_sizes,
    inferred_spec,
    input_structure,
    producer,
    set_mask,
)
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
        examples: Number of examples that its symbolic tensors have; None if that is open.
    """

    layer: keras.Operation
    name: str
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]
    node: Any
    wrapper: Wrapper | None = None
    times: int = 1
    examples: int | None = None

    __repr__ = short_repr

    def per_example(self, cost: int) -> int:
        """Returns what a call costs for one example, given the cost for one position of its first axis.

        Some code makes positions of examples to rows, so that there are several for each.
        """
        rows = next((size for tensor in self.outputs[:1] for size in tensor.shape[:1]), None)
        known = rows is not None and self.examples is not None and rows > self.examples
        return cost * self.times * rows // self.examples if known else cost * self.times  # type: ignore[operator]

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


@dataclass(frozen=True, eq=False)
class OpenedLayer:
    """A layer of which the graph has what it computes in place of its calls.

    Attributes:
        layer: The layer.
        name: Its name, with which the names of the calls within it begin.
        within: The name of the opened layer that holds it; None if the model calls it.
        openings: What each of its calls computes, by the `id` of Keras' record of the call.
        calls: For each of its calls, Keras' record and the symbolic tensors that it takes, as the graph has them.
        sizes: Where the number of examples is in the calls within it, by the `id` of their records, if it was read with
            a fixed one.
    """

    layer: keras.Layer
    name: str
    within: str | None = None
    openings: dict[int, Opening] = field(default_factory=dict)
    calls: list[tuple[Any, tuple[keras.KerasTensor, ...]]] = field(default_factory=list)
    sizes: dict[int, ExampleSizes] = field(default_factory=dict)

    __repr__ = short_repr


@dataclass(frozen=True)
class ModelGraph:
    """A model as a flat list of calls.

    Attributes:
        calls: Producers before consumers, input layers included.
        outputs: The symbolic output tensors, as the calls name them.
        opened: The layers that are replaced by what they compute, those that hold others first.
        closed: What stopped other layers from being opened, by name.
        sizes: The shapes of the inputs with which the model was read; None if they are the model's own.
        opens: Which layers were to be opened.
        general: The same read without sizes, if this was read with sizes because of that.
    """

    calls: tuple[Call, ...]
    outputs: tuple[keras.KerasTensor, ...]
    opened: tuple[OpenedLayer, ...] = ()
    closed: Mapping[str, str] = field(default_factory=dict)
    sizes: tuple[tuple[int | None, ...], ...] | None = None
    opens: Callable[[keras.Operation, bool, Any], bool] | None = None
    general: "ModelGraph | None" = None

    __repr__ = short_repr


def model_calls(model: keras.Model) -> tuple[Call, ...]:
    """Returns the calls of a model; arguments, order and errors are those of `model_graph`."""
    return model_graph(model).calls


def model_graph(
    model: keras.Model,
    opens: Callable[[keras.Operation, bool, Any], bool] | None = None,
    sizes: Sequence[Sequence[int | None]] | None = None,
) -> ModelGraph:
    """Lists a functional or sequential model's calls, producers before consumers.

    The order is depth first from the outputs, with inputs in the order in which the layer takes them. Unlike
    `model.layers`, which sorts by distance from the output, it follows the code of the model: in
    `Add()([shortcut, branch])`, the whole shortcut comes first. A nested model is replaced by its own calls, once for
    each time it is called; so is one within `TimeDistributed`, between `FoldTime` and `UnfoldTime`, as if all points in
    time were examples.

    Args:
        model: A functional or sequential model, built.
        opens: Whether a layer is replaced by what its code does on symbolic tensors, if it runs on them; the second
            argument is whether it stands within such a layer, the third the record of the call. Default: no layer is.
        sizes: Shapes of the inputs, batch axis included, of which open ones may be given a size. Default: their own.

    Returns:
        The calls, with the input layers of the model, but not those of nested models.

    Raises:
        UnsupportedLayerError: The model has no graph (a subclassed model).
    """
    graph = functional_graph(model)
    if graph is None:
        raise no_graph(model)
    reader = _Reader(opens or (lambda operation, within, node: False), sizes)
    outputs = reader.open(graph, "", {})
    own = None if sizes is None else tuple(map(tuple, sizes))
    return ModelGraph(tuple(reader.calls), tuple(outputs), tuple(reader.opened.values()), reader.closed, own, opens)


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
        "graph of layers; give tfprune.functional_model(model, keras.Input(shape)), or rebuild it as "
        "keras.Model(inputs, outputs)"
    )


def functional_graph(model: Any) -> Any:
    """Returns Keras' functional graph of a model; None if it has none, is no model, or has a `call` of its own.

    Args:
        model: Any model, layer or operation.
    """
    if getattr(type(model), "call", None) not in (
        Functional.call,
        keras.Sequential.call,
        GlobalSubnet.call,
        GraphModel.call,
    ):
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


def is_within(name: str, outer: str) -> bool:
    """Returns whether a name is that of a layer, or of one within it: `block` or `block/attention` for `block`."""
    return name == outer or name.startswith(f"{outer}/")


def is_meant(name: str, pattern: str) -> bool:
    """Returns whether a path or a pattern such as `stage1_*` stands for a layer: it, or one that holds it."""
    return fnmatchcase(name, pattern) or is_within(name, pattern)


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
        return {name for name in names if is_meant(name, ignored)}
    if not isinstance(ignored, keras.Layer):
        return {call.name for call in calls if call.layer is ignored}
    within, weights = {id(layer) for layer in flat_layers(ignored)}, {id(variable) for variable in ignored.weights}
    return {call.name for call in calls if id(call.layer) in within or _consists_of(call.layer, weights)}


def _consists_of(layer: Any, weights: Collection[int]) -> bool:
    """Returns whether a layer has weights, all among some, by `id`: layers of subclassed models have twins."""
    held = layer.weights if isinstance(layer, keras.Layer) else []
    return bool(held) and all(id(variable) in weights for variable in held)


def no_such_layer(setting: str, name: str, known: Iterable[str]) -> str:
    """Returns the error message for a name or pattern in a setting that matches no layer.

    Args:
        setting: The setting.
        name: What it has.
        known: The names that match.
    """
    near = suggestion(name, known) or "; check the name"
    return f"{setting}: expected layers of the model, received {name!r}, which it lacks{near}"


class _Reader:
    """Collects the calls of a graph and of the graphs nested in it.

    Args:
        opens: Which layers without a graph are opened.
        sizes: Shapes of the inputs; None for their own.
    """

    def __init__(
        self,
        opens: Callable[[keras.Operation, bool, Any], bool],
        sizes: Sequence[Sequence[int | None]] | None,
    ) -> None:
        self.calls: list[Call] = []
        self.opened: dict[int, OpenedLayer] = {}
        self.closed: dict[str, str] = {}
        self._names: dict[int, str] = {}
        self._taken: set[str] = set()
        self._used: set[int] = set()
        self._opens, self._sizes = opens, sizes
        self._examples = None if sizes is None else sizes[0][0]

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
        shapes = iter(self._sizes or ())
        given = {} if prefix else {id(tensor): next(shapes, tensor.shape) for tensor in graph.inputs}
        for node in ordered_nodes(graph):
            if node.is_input and prefix:
                continue
            if node.is_input:
                outputs = [self._resized(tensor, given[id(tensor)]) for tensor in node.output_tensors]
                self._add(node, node.operation.name, [], outputs, times)
            else:
                outputs = self._called(node, prefix, [tensors[id(tensor)] for tensor in node.input_tensors], times)
            tensors.update((id(old), new) for old, new in zip(node.output_tensors, outputs, strict=True))
        return [tensors[id(tensor)] for tensor in graph.outputs]

    def _called(
        self, node: Any, prefix: str, inputs: list[keras.KerasTensor], times: int, within: OpenedLayer | None = None
    ) -> list[keras.KerasTensor]:
        """Adds what a call computes, and returns its outputs."""
        inner = _opened_graph(node)
        name = self._name(node.operation, prefix, within)
        if inner is not None:
            nested = {id(tensor): value for tensor, value in zip(inner.inputs, inputs, strict=True)}
            return self.open(inner, f"{name}/", nested, times)
        if timed_graph(node.operation) is not None and _opens(node):
            return [self._over_time(timed_graph(node.operation), name, inputs, times)]
        if self._opens(node.operation, within is not None, node):
            opening = self._opening(node, name, inputs)
            if opening is not None:
                return self._within(node, name, inputs, opening, times, within)
        outputs = self._outputs(node, inputs)
        self._add(node, name, inputs, outputs, times)
        return outputs

    def _name(self, operation: Any, prefix: str, within: OpenedLayer | None) -> str:
        """Returns the name of an operation: the one of its first call.

        Names of layers within an opened layer may be equal, and those of operations there are new in each reading.
        """
        if id(operation) not in self._names or (within is not None and not isinstance(operation, keras.Layer)):
            own = operation.name
            if within is not None and not isinstance(operation, keras.Layer):
                own = sub(r"(?<!^)(?=[A-Z])", "_", type(operation).__name__).lower()
            name, number = prefix + own, 1
            while within is not None and name in self._taken:
                number += 1
                name = f"{prefix}{own}_{number}"
            self._taken.add(name)
            self._names[id(operation)] = name
        return self._names[id(operation)]

    def _add(self, node: Any, name: str, inputs: Any, outputs: Any, times: int) -> None:
        self.calls.append(Call(node.operation, name, tuple(inputs), tuple(outputs), node, None, times, self._examples))

    def _opening(self, node: Any, name: str, inputs: list[keras.KerasTensor]) -> Opening | None:
        try:
            opening = opened(node, [tensor.shape for tensor in inputs])
            check_opening(node, opening)
            return opening
        except OpeningError as error:
            self.closed.setdefault(name, str(error))
            return None

    def _within(
        self,
        node: Any,
        name: str,
        inputs: list[keras.KerasTensor],
        opening: Opening,
        times: int,
        within: OpenedLayer | None,
    ) -> list[keras.KerasTensor]:
        """Adds the calls within an opened layer, and returns its outputs."""
        outer = None if within is None else within.name
        layer = self.opened.setdefault(id(node.operation), OpenedLayer(node.operation, name, outer))
        layer.openings[id(node)] = opening
        layer.calls.append((node, tuple(inputs)))
        tensors = {id(old): new for old, new in zip(opening.inputs, inputs, strict=True)}
        for attribute, (weight, tensor) in opening.weights.items():
            self.calls.append(Call(weight, f"{name}/{attribute}", (), (tensor,), None, None, times, self._examples))
            tensors[id(tensor)] = tensor
        for each in opening.nodes:
            given = [tensors[id(tensor)] for tensor in each.input_tensors]
            made = self._called(each, f"{name}/", given, times, layer)
            tensors.update((id(old), new) for old, new in zip(each.output_tensors, made, strict=True))
        return [tensors[id(tensor)] for tensor in opening.outputs]

    @staticmethod
    def _resized(tensor: keras.KerasTensor, shape: Sequence[int | None]) -> keras.KerasTensor:
        """Returns a tensor, or one of another shape in its place."""
        if tuple(tensor.shape) == tuple(shape):
            return tensor
        return keras.KerasTensor(shape, tensor.dtype, tensor.sparse, name=tensor.name)

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
        known = self._sizes is None or not has_open_sizes(node.output_tensors) or has_open_sizes(inputs)
        if known and all(raw.shape == tensor.shape for raw, tensor in pairs):
            return [self._fresh(tensor) for tensor in node.output_tensors]
        # A nested model casts what it is given.
        given = {id(raw): keras.KerasTensor(tensor.shape, raw.dtype, raw.sparse) for raw, tensor in pairs}
        arguments, options = node.arguments.fill_in(given)
        made = keras.tree.flatten(node.operation.compute_output_spec(*arguments, **options))
        # It may be written so that it does not say all sizes that it knows.
        if has_open_sizes(made) and not has_open_sizes(inputs):
            made = keras.tree.flatten(inferred_spec(node.operation.call, *arguments, **options))
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
