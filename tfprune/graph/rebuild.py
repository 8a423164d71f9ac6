"""Copies of functional models and of single layers, with changes on the way."""

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from tempfile import TemporaryDirectory
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import keras

from tfprune.errors import UnsupportedLayerError
from tfprune.graph.calls import OpenedLayer, functional_graph, no_graph, ordered_nodes, takes_in_order, timed_graph
from tfprune.graph.configured_model import configured_model, own_attributes
from tfprune.graph.example_sizes import ExampleSizes
from tfprune.graph.layer_copies import why_not_remade
from tfprune.graph.model_class import (
    GraphModel,
    carry_attributes,
    ensure_loadable,
    has_own_class,
    model_like,
    refuse_settings,
    sequential_like,
    warn_of_losses,
    why_not_saved,
)
from tfprune.graph.model_widths import ModelWidths
from tfprune.graph.opening import cause_of, constants, needed_part, run_opening
from tfprune.keras_private import (
    compile_settings,
    flat_layers,
    forget_calls,
    input_structure,
    operation_settings,
    output_structure,
    outputs_inferred,
    producer,
    run_through_graph,
    takes_training,
    tensors_in,
)
from tfprune.layers import OwnWeight
from tfprune.layers.masked_layer import MaskedLayer, unmasked

MakeLayer = Callable[[keras.Layer], keras.Layer]
MakeOperation = Callable[[keras.Operation], keras.Operation]
CallLayer = Callable[..., Any]

_made: "WeakKeyDictionary[keras.Model, dict[int, keras.Variable]]" = WeakKeyDictionary()
"""The variables of each copy, by the `id`s of those that they are copies of."""


class SharedWeightsWarning(UserWarning):
    """Layers that share weights, such as a layer and a wrapper of it, have weights of their own in the copy.

    Args:
        layers: Names of the layers.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        super().__init__(f"{' and '.join(layers)} share weights; in the copy, each has its own, of the same values")


def rebuild(
    model: keras.Model,
    make_layer: MakeLayer,
    call_layer: CallLayer | None = None,
    weights: Callable[[keras.Layer, keras.Variable], Any] | None = None,
    *,
    make_operation: MakeOperation | None = None,
    may_add_weights: bool = False,
    keep_class: bool = False,
    expand: Iterable[OpenedLayer] = (),
    sizes: Sequence[Sequence[int | None]] | None = None,
    without: Mapping[int, Sequence[int]] | None = None,
    widths: Mapping[int, ModelWidths] | None = None,
    copies: dict[int, keras.Variable] | None = None,
) -> keras.Model:
    """Copies a model and its weights layer by layer, nested models included.

    Args:
        model: A functional or sequential model. It is not changed. If it is compiled, so is the copy.
        make_layer: Maps an old layer to the new one, of the same name; also those of nested models, but not the nested
            models themselves.
        call_layer: Applies a new layer or operation, given `(layer, *args, **kwargs)`; may insert further layers.
        weights: Maps an old layer and one of its variables to the array for the new variable. Default: its value.
        make_operation: Maps an old operation (`keras.ops`) to the new one. Default: a copy.
        may_add_weights: Whether new layers may have weights that old ones of the same class lack, such as a bias.
        keep_class: Whether the copy of a model of a class of its own is one, too, with its attributes; see
            `model_class`. A `ModelClassWarning` says what is lost.
        expand: Opened layers that become functional models of what they compute; of their parts copies are made.
        sizes: Shapes of the copy's inputs, batch axis included. Default: those of the model.
        without: Calls to leave out, by the `id` of Keras' record of each: for each output the position of the input
            that takes its place. Layers that nothing else needs are left out, too.
        widths: Configurations that models of a class of their own may be made from, by the `id` of the model. Where
            such a model computes the same as the copy, it takes its place.
        copies: Receives the copy of each variable that stays, by the `id` of the model's own.

    Returns:
        A new model: sequential if `model` is and there is no `call_layer`, otherwise functional.

    Raises:
        UnsupportedLayerError: The model has no graph.
    """
    if functional_graph(model) is None:
        raise no_graph(model)
    shapes = sizes or [tensor.shape for tensor in functional_graph(model).inputs]
    widths = widths or {}

    def copied(nested: Mapping[int, ModelWidths]) -> tuple[_Copies, keras.Model]:
        made = _Copies(
            make_layer,
            make_operation or copy_operation,
            call_layer,
            weights,
            keep_class,
            expand,
            without or {},
            bool(sizes),
        )
        made.widths = nested
        return made, made.model(model, shapes)

    parts, new = copied({})
    configured = parts.configured(model, new, widths)
    if configured is None and any(id(each) in widths for each in flat_layers(model)[1:]):
        parts, new = copied(widths)
    new = new if configured is None else configured
    holders: dict[int, dict[int, str]] = {}
    for old_layer, new_layer in parts.layers:
        _build_parts(old_layer, new_layer)
        for variable, target in _matched(old_layer, new_layer, may_add_weights):
            target.assign(variable if weights is None else weights(old_layer, variable))
            _made.setdefault(new, {})[id(variable)] = target
            holders.setdefault(id(variable), {})[id(target)] = old_layer.name
            if copies is not None:
                copies[id(variable)] = target
        if hasattr(old_layer, "save_assets"):  # such as a vocabulary, which is neither a weight nor a setting
            with TemporaryDirectory() as folder:
                old_layer.save_assets(folder)
                new_layer.load_assets(folder)
    for old_layer, new_layer in parts.layers:
        for old_part, new_part in zip(flat_layers(unmasked(old_layer)), flat_layers(unmasked(new_layer)), strict=False):
            new_part.trainable = old_part.trainable
    for names in dict.fromkeys(tuple(each.values()) for each in holders.values() if len(each) > 1):
        warnings.warn(SharedWeightsWarning(names), stacklevel=3)
    optimizer = _fresh(model.optimizer) if model.compiled else None
    if keep_class:
        known = {id(getattr(model, "optimizer", None)): optimizer} if optimizer else {}
        warn_of_losses(parts.carry_attributes(known, widths))
    if model.compiled:
        compile_alike(model, new, optimizer)
    new.compiled = model.compiled  # a class may compile each model that it makes
    return new


def variable_copies(model: keras.Model, new: keras.Model) -> dict[int, keras.Variable]:
    """Returns the trainable variables of a copy that `rebuild` made, by the `id`s of those of the model.

    The orders may differ: a layer that became a functional model has the order of its graph. Layers outside of the
    graph, which are copied as attributes, come in the same order in both.
    """
    known = _made.get(new, {})
    targets = {id(target) for target in known.values()}
    others = [
        [each for each in model.trainable_variables if id(each) not in known],
        [each for each in new.trainable_variables if id(each) not in targets],
    ]
    return known | {id(one): other for one, other in zip(*others, strict=True)}


def copied_graphs(model: keras.Layer, make_layer: MakeLayer) -> dict[int, Any]:
    """Copies the functional and sequential models within a layer or model, around copies of their layers.

    Args:
        model: The layer or model. It is not changed.
        make_layer: Maps a layer of these models to its copy, which is built and has weights.

    Returns:
        The copies of models and layers, by the `id`s of the old ones.
    """
    copies = _Copies(make_layer, copy_operation, None, None, True, (), {}, False)
    for each in flat_layers(model):
        copies.add(each)
    for old, new in copies.layers:
        for one, other in zip(flat_layers(old), flat_layers(new), strict=True):
            other.trainable = one.trainable
    copies.carry_attributes({}, {})
    return copies.made


def _build_parts(old: keras.Layer, new: keras.Layer) -> None:
    """Builds layers within a new layer that Keras builds when they first compute, such as PReLU as an activation."""
    for one, other in zip(flat_layers(unmasked(old)), flat_layers(unmasked(new)), strict=False):
        if one.built and not other.built and one.weights and type(one) is type(other):
            with keras.name_scope(new.name):
                other.build_from_config(one.get_build_config())


def compile_alike(model: keras.Model, new: keras.Model, optimizer: Any = None) -> None:
    """Compiles a copy with the same losses, with another optimizer, and with new metrics.

    An optimizer may have a method `fitting(variables)` that returns the optimizer to use for the copy's variables.

    Args:
        model: A compiled model.
        new: The copy. It is compiled.
        optimizer: The copy's optimizer. Default: a new one with the settings of the model's.
    """
    optimizer = _fresh(model.optimizer) if optimizer is None else optimizer
    settings = compile_settings(model)
    for key in ("metrics", "weighted_metrics"):
        settings[key] = keras.tree.map_structure(_fresh, settings.get(key))
    if isinstance(new, type(model)):
        settings = keras.tree.map_structure(lambda value: rebound(value, model, new), settings)
    if hasattr(optimizer, "fitting"):
        optimizer = optimizer.fitting(new.trainable_variables)
    # A class may take other arguments; what it makes of them are attributes, and arguments of Keras' own method.
    keras.Model.compile(new, **{**settings, "optimizer": optimizer})
    if new.optimizer is not None and model.optimizer.built:
        new.optimizer.build(new.trainable_variables)


def _fresh(value: Any) -> Any:
    """Returns a new metric or optimizer with the same settings; other values have no state and are returned."""
    has_state = isinstance(value, (keras.Metric, keras.Optimizer))
    return type(value).from_config(value.get_config()) if has_state else value


def rebound(value: Any, old: Any, new: Any) -> Any:
    """Returns a method of the new object for one of the old; other values are returned."""
    return MethodType(value.__func__, new) if isinstance(value, MethodType) and value.__self__ is old else value


def copy_operation(
    operation: keras.Operation, changes: Mapping[str, Callable[[Any], Any]] | None = None
) -> keras.Operation:
    """Copies an operation (`keras.ops`); the copy belongs to no graph.

    Args:
        operation: The operation. It is not changed.
        changes: Maps the old value of a setting to the new one, by the setting's name.
    """
    if changes:
        config = operation_settings(operation)
        return type(operation)(**config | {key: change(config[key]) for key, change in changes.items()})
    new = copy.copy(operation)
    forget_calls(new)
    return new


class _Copies:
    """Makes each new layer once, even if the old one is called several times.

    Attributes:
        layers: Pairs of old and new layers.
        widths: What was found out about the configurations of nested models.
    """

    def __init__(
        self,
        make_layer: MakeLayer,
        make_operation: MakeOperation,
        call_layer: CallLayer | None,
        weights: Callable[[keras.Layer, keras.Variable], Any] | None,
        keep_class: bool,
        expand: Iterable[OpenedLayer],
        without: Mapping[int, Sequence[int]],
        fixed: bool,
    ) -> None:
        self.widths: Mapping[int, ModelWidths] = {}
        self._configured: dict[int, keras.Model] = {}
        self._weights, self._fixed = weights, fixed
        self._sizes: dict[int, ExampleSizes] = {}
        self._own: dict[int, OwnWeight] = {}
        self._expand = {id(each.layer): each for each in expand}
        self._parts: dict[int, dict[Any, keras.Model]] = {}
        self.layers: list[tuple[keras.Layer, keras.Layer]] = []
        self._models: list[tuple[keras.Model, keras.Model]] = []
        self._keep_class, self._without = keep_class, without
        self._make_layer, self._make_operation, self._call_layer = make_layer, make_operation, call_layer
        self._made: dict[int, Any] = {}

    @property
    def made(self) -> dict[int, Any]:
        """What was made, by the `id` of what it is a copy of: models, layers, layers within these, and operations."""
        known = {**self._made, **{id(old): new for old, new in self._models}}
        for old, new in self.layers:
            parts = [flat_layers(each) for each in (old, new)]
            if type(old) is type(new) and len(parts[0]) == len(parts[1]):
                known.update((id(one), other) for one, other in zip(*parts, strict=True))
        return known

    def add(self, layer: Any) -> None:
        """Copies a model, unless it was copied before; anything else is left alone."""
        graph = functional_graph(layer)
        if graph is not None and id(layer) not in self._made:
            self._made[id(layer)] = self.model(layer, [tensor.shape for tensor in graph.inputs])

    def model(self, model: keras.Model, shapes: Sequence[Any]) -> keras.Model:
        """Copies a model for inputs of the given shapes, batch axis included."""
        graph = functional_graph(model)
        inputs = [_input(tensor, shape) for tensor, shape in zip(graph.inputs, shapes, strict=True)]
        for old, first in zip(graph.inputs, inputs, strict=True):
            self._made.setdefault(id(producer(old).operation), producer(first).operation)
        expands = any(id(layer) in self._expand for layer in flat_layers(model))
        if isinstance(model, keras.Sequential) and self._call_layer is None and not expands:
            make = sequential_like if self._keep_class else _plain_sequential
            new: keras.Model = make(model, inputs)
            left_out = {id(node.operation) for node in ordered_nodes(graph) if id(node) in self._without}
            for layer in (each for each in model.layers if id(each) not in left_out):
                given = (new.outputs[0] if new.layers else inputs[0],)
                new.add(self._copy(layer, _nested_shapes(layer, given, {})))
        else:
            structured = keras.tree.pack_sequence_as(input_structure(graph), inputs)
            outputs = self._run(graph, structured)
            new = (
                model_like(model, structured, outputs)
                if self._keep_class
                else keras.Model(structured, outputs, name=model.name)
            )
        new.trainable = model.trainable
        self._models.append((model, new))
        return new

    def configured(
        self, model: keras.Model, copy: keras.Model, widths: Mapping[int, ModelWidths]
    ) -> keras.Model | None:
        """Makes a model from its configuration, in place of a copy that was made of it; None if that is another one."""
        config = widths[id(model)].config if id(model) in widths else None
        if config is None:
            return None
        within = {id(part) for part in flat_layers(model)}
        pairs = [(old, new) for old, new in self.layers if id(old) in within]
        for old, new in pairs:
            _build_parts(old, new)
        variables = [pair for old, new in pairs for pair in _matched(old, new, False)]
        found = configured_model(model, config, copy, variables, self._left_out(model))
        if found is None:
            return None
        made, parts = found
        self.layers = [pair for pair in self.layers if id(pair[0]) not in within]
        models = {id(old): new for old, new in self._models}
        self._models = [pair for pair in self._models if id(pair[0]) not in within]
        for old, new in [(model, made), *parts]:
            if functional_graph(old) is not None:
                new.name, new.trainable = old.name, old.trainable
                self._models.append((old, new))
                self._configured[id(old)] = models[id(old)]
            elif isinstance(old, keras.Layer):
                for one, other in zip(flat_layers(old), flat_layers(new), strict=True):
                    other.name = one.name
                self.layers.append((old, new))
            self._made[id(old)] = new
        return made

    def _left_out(self, *models: keras.Model) -> set[int]:
        """Returns the `id`s of the operations of graphs that the copy lacks."""
        graphs = [functional_graph(each) for each in (*models, *(old for old, _ in self._models))]
        return {id(each) for graph in graphs for each in graph.operations} - self._made.keys()

    def carry_attributes(
        self, counterparts: dict[int, Any], widths: Mapping[int, ModelWidths]
    ) -> list[tuple[keras.Model, str]]:
        """Gives the new models the attributes of the old ones; returns which models lose what.

        Args:
            counterparts: New objects by the `id` of old ones, besides those of the graph.
            widths: What was found out about models.
        """
        for old, _ in self._models:
            self._copy_models_of_the_same_layers(old)
        known = {**self.made, **counterparts}
        for old, new in self.layers:
            if type(old) is type(new) and len(old.variables) == len(new.variables):
                known.update((id(one), other) for one, other in zip(old.variables, new.variables, strict=False))
        left_out = self._left_out() - known.keys()
        lost = []
        for old, new in self._models:
            if not has_own_class(old):
                continue
            if not isinstance(new, type(old)):
                lost.append((old, "its copy is a functional model without the class's methods and attributes"))
                continue
            found = widths.get(id(old), ModelWidths())
            if id(old) in self._configured:
                names = own_attributes(old, self._configured[id(old)], new, found, known)
                attributes = carry_attributes(old, new, known, left_out, names)
            else:
                attributes = carry_attributes(old, new, known, left_out)
                refuse_settings(new, found.changed)
                if type(new) is type(old):
                    ensure_loadable(new)
            if type(new) is not type(old) or (isinstance(new, GraphModel) and old not in _made):
                lost.append((old, self._loss_in_files(old)))
            if attributes:
                lost.append((old, f"its copy lacks {', '.join(attributes)}, which hold layers or symbolic tensors"))
        return lost

    def _loss_in_files(self, model: keras.Model) -> str:
        """Returns what is lost where a copy of a model is saved by its graph, which its class made itself."""
        text = "its copy is saved as a plain model, as the class makes its layers itself"
        failing = {new.name: cause for _, new in self.layers if (cause := why_not_saved(new))}
        if failing:
            return f"{text}, but Keras cannot save {', '.join(failing)} ({next(iter(failing.values()))})"
        shared = _shared_between_graphs(model)
        strange = [old.name for old, _ in self.layers if why_not_remade(old) or id(old) in shared]
        return f"{text}, but Keras cannot load {', '.join(strange)} from it" if strange else text

    def _copy_models_of_the_same_layers(self, model: keras.Model) -> None:
        """Copies the models among a model's attributes that consist of layers of the graph, such as its backbone."""
        within = {*self._made, *map(id, functional_graph(model).operations)}
        for value in flat_layers(model) if has_own_class(model) else ():
            graph = functional_graph(value)
            if graph is None or id(value) in self._made or any(value is old for old, _ in self._models):
                continue
            if all(id(operation) in within for operation in graph.operations):
                self._made[id(value)] = self.model(value, [tensor.shape for tensor in graph.inputs])

    def _run(self, graph: Any, inputs: Any) -> Any:
        def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
            if id(operation) in self._expand:
                (first, _), *_ = self._expand[id(operation)].calls
                tensors = [each for each in keras.tree.flatten((args, kwargs)) if isinstance(each, keras.KerasTensor)]
                return self._call_parts(first, tensors)
            new = self._copy(operation, _nested_shapes(operation, args, kwargs))
            return self._apply(operation, new, *args, **kwargs)

        if any(id(node) in self._without for node in ordered_nodes(graph)):
            return _run_without(graph, inputs, call, self._without)
        return run_through_graph(graph, inputs, call)

    def _apply(self, operation: Any, new: Any, *args: Any, **kwargs: Any) -> Any:
        if self._call_layer is None or functional_graph(operation) is not None:
            return new(*args, **kwargs)
        return self._call_layer(new, *args, **kwargs)

    def _call_parts(self, node: Any, tensors: Sequence[keras.KerasTensor]) -> Any:
        """Calls the functional model that takes the place of an opened layer, one for all calls that are alike.

        Args:
            node: Keras' record of the call.
            tensors: The tensors to call the model with.
        """
        layer = node.operation
        models = self._parts.setdefault(id(layer), {})
        key = (constants(node), *(tuple(each.shape) for each in tensors))
        if key not in models:
            opening = self._expand[id(layer)].openings[id(node)]
            shapes = [_sure_sizes(*each) for each in zip(tensors, node.input_tensors, opening.inputs, strict=True)]
            inputs = [
                keras.Input(batch_shape=shape, dtype=each.dtype) for shape, each in zip(shapes, tensors, strict=True)
            ]
            needed = needed_part(opening, self._without)
            self._sizes.update(self._expand[id(layer)].sizes)
            try:
                outputs = run_opening(needed, inputs, self._part, partial(self._own_weight, layer, inputs[0]))
            except UnsupportedLayerError:
                raise
            except Exception as error:  # of the code of a layer
                raise UnsupportedLayerError(
                    f"expected layers that run for any number of examples, received {layer.name} "
                    f"({type(layer).__name__}), where this fails: {cause_of(error)}; prune with keep_classes=True"
                ) from error
            outputs = [keras.layers.Identity()(each) if _is_one_of(each, inputs) else each for each in outputs]
            name = f"{layer.name}_{len(models) + 1}" if models else layer.name
            models[key] = keras.Model(inputs, outputs, name=name)
            models[key].trainable = layer.trainable
            self._made.setdefault(id(layer), models[key])
        result = models[key](list(tensors))
        return result[0] if len(result) == 1 else result

    def _part(self, node: Any, values: Mapping[int, Any]) -> list[Any]:
        """Carries out a call within an opened layer, with a new layer or operation."""
        operation = node.operation
        if id(node) in self._without:
            return [values[id(node.input_tensors[position])] for position in self._without[id(node)]]
        if id(operation) in self._expand:
            given = [values[id(each)] for each in node.input_tensors]
            return keras.tree.flatten(self._call_parts(node, given))
        args, kwargs = node.arguments.fill_in(values)
        if takes_training(operation):
            kwargs.pop("training", None)  # it was recorded in inference mode
        new = self._copy(operation, _nested_shapes(operation, args, kwargs))
        if not self._fixed and id(node) in self._sizes:
            args, kwargs = self._sizes[id(node)].arguments((args, kwargs))
            new = _with_open_sizes(new, self._sizes[id(node)], node, args)
        with outputs_inferred(new):
            return tensors_in(self._apply(operation, new, *args, **kwargs))

    def _own_weight(self, layer: keras.Layer, place: keras.KerasTensor, variable: keras.Variable) -> Any:
        """Returns a weight that an opened layer uses itself, from a layer of its own."""
        if id(variable) not in self._own:
            value = variable if self._weights is None else self._weights(layer, variable)
            kind = None if keras.backend.is_float_dtype(variable.dtype) else variable.dtype
            new = OwnWeight(value.shape, kind, dtype=layer.dtype_policy, trainable=variable.trainable)
            new(place)  # builds it
            new.weight.assign(value)
            self._own[id(variable)] = new
        return self._own[id(variable)](place)

    def _copy(self, operation: Any, shapes: list[Any]) -> Any:
        if id(operation) not in self._made:
            self._made[id(operation)] = self._new(operation, shapes)
        return self._made[id(operation)]

    def _new(self, operation: Any, shapes: list[Any]) -> Any:
        if functional_graph(operation) is not None:
            shared = any(id(part) in self._made for part in flat_layers(operation))
            new = self.model(operation, shapes)
            return new if shared else self.configured(operation, new, self.widths) or new
        if not isinstance(operation, keras.Layer):
            return self._make_operation(operation)
        if timed_graph(operation) is not None:
            own = {"name": operation.name, "dtype": operation.dtype_policy, "trainable": operation.trainable}
            return keras.layers.TimeDistributed(self._copy(operation.layer, shapes), **own)
        new = self._make_layer(operation)
        self.layers.append((operation, new))
        return new


def _with_open_sizes(new: Any, sizes: ExampleSizes, node: Any, args: Any) -> Any:
    """Returns an operation for any number of examples, if it is a reshape that names one."""
    if sizes.axis is None:
        return new
    examples = 1 if sizes.given is None else node.input_tensors[0].shape[sizes.given] or 1
    return copy_operation(new, {"newshape": lambda old: sizes.target(old, args[0].shape, examples)})


def _sure_sizes(new: Any, recorded: Any, read: Any) -> list[int | None]:
    """Returns the shape of a tensor without sizes that a layer states, but does not have where its code is read."""
    known = zip(new.shape, recorded.shape, read.shape, strict=True)
    return [None if None not in (old, own) and old != own else size for size, old, own in known]


def _is_one_of(tensor: Any, others: Sequence[Any]) -> bool:
    return any(tensor is each for each in others)


def _shared_between_graphs(model: keras.Model) -> set[int]:
    """Returns the `id`s of layers that a model and a model within it call: Keras loads them as two layers."""
    graphs, counts = [functional_graph(model)], Counter[int]()
    for graph in graphs:
        counts.update({id(operation) for operation in graph.operations})
        graphs += [inner for each in graph.operations if (inner := functional_graph(each)) is not None]
    return {key for key, count in counts.items() if count > 1}


def _run_without(graph: Any, inputs: Any, call: CallLayer, without: Mapping[int, Sequence[int]]) -> Any:
    """Runs a graph as `run_through_graph` does, but for some calls, and what only these need; see `rebuild`."""
    values = dict(zip(map(id, graph.inputs), keras.tree.flatten(inputs), strict=True))
    for node in ordered_nodes(graph, without):
        if id(node) in without:
            outputs = [values[id(node.input_tensors[position])] for position in without[id(node)]]
        elif node.is_input:
            continue
        else:
            args, kwargs = node.arguments.fill_in(values)
            outputs = call(node.operation, *args, **kwargs)
        values.update(zip(map(id, node.output_tensors), keras.tree.flatten(outputs), strict=True))
    return keras.tree.pack_sequence_as(output_structure(graph), [values[id(tensor)] for tensor in graph.outputs])


def _plain_sequential(model: keras.Sequential, layers: list[Any]) -> keras.Sequential:
    return keras.Sequential(layers, name=model.name)


def _nested_shapes(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """Returns the shapes of a nested model's inputs in the copy: its own, but for the sizes that its caller changed.

    Args:
        operation: A nested model, or one at each point in time; another operation has no such shapes.
        args: What its first call in the copy is given.
        kwargs: Named arguments of this call.
    """
    timed = timed_graph(operation)
    graph = functional_graph(operation) if timed is None else timed
    if graph is None:
        return []
    own = [tensor.shape for tensor in graph.inputs]
    given = [each.shape for each in keras.tree.flatten((args, kwargs)) if isinstance(each, keras.KerasTensor)]
    if timed is not None:
        given = [(shape[0], *shape[2:]) for shape in given[:1]]
    if not takes_in_order(graph, args) or [len(shape) for shape in given] != [len(shape) for shape in own]:
        return own  # what is called like this is not opened, so nothing was cut
    return [_resized(*pair) for pair in zip(own, given, strict=True)]


def _resized(own: Sequence[int | None], given: Sequence[int | None]) -> tuple[int | None, ...]:
    """Returns a shape with the known sizes of another, except on the batch axis and where its own is open."""
    later = (old if old is None or new is None else new for old, new in zip(own[1:], given[1:], strict=True))
    return (own[0], *later)


def _input(tensor: keras.KerasTensor, shape: Any) -> keras.KerasTensor:
    old: Any = producer(tensor).operation
    optional = getattr(old, "optional", False)
    return keras.Input(
        batch_shape=shape, dtype=tensor.dtype, sparse=tensor.sparse or None, name=old.name, optional=optional
    )


def _matched(old: keras.Layer, new: keras.Layer, may_add_weights: bool) -> list[tuple[keras.Variable, keras.Variable]]:
    """Pairs the variables of two layers: by order in layers of one class, otherwise by path within the layer."""
    if isinstance(old, MaskedLayer) or isinstance(new, MaskedLayer):
        masks = [(each.masks if isinstance(each, MaskedLayer) else {}) for each in (old, new)]
        both = [(mask, masks[1][path]) for path, mask in masks[0].items() if path in masks[1]]
        return both + _matched(unmasked(old), unmasked(new), may_add_weights)
    if type(old) is type(new) and not (may_add_weights and len(new.variables) > len(old.variables)):
        if len(old.variables) != len(new.variables):
            raise UnsupportedLayerError(
                f"expected layers that Keras can create from their configuration, received {old.name} "
                f"({type(old).__name__}) with {len(old.variables)} variables, and {len(new.variables)} in the new layer"
            )
        return list(zip(old.variables, new.variables, strict=True))
    targets = {_path_within(new, variable): variable for variable in new.variables}
    paths = {_path_within(old, variable): variable for variable in old.variables}
    return [(variable, targets[path]) for path, variable in paths.items() if path in targets]


def _path_within(layer: keras.Layer, variable: keras.Variable) -> str:
    return variable.path.rpartition(f"{layer.name}/")[2]
