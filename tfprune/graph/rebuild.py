"""Copies of functional models and of single layers, with changes on the way."""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import isfunction
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np

from tfprune.errors import UnsupportedLayerError, first_line
from tfprune.graph.calls import functional_graph, takes_in_order, timed_graph
from tfprune.graph.duplicate import duplicated
from tfprune.keras_private import (
    SafeModeScope,
    compile_settings,
    flat_layers,
    forget_calls,
    input_structure,
    lambda_output_shape,
    operation_settings,
    producer,
    run_through_graph,
)

MakeLayer = Callable[[keras.Layer], keras.Layer]
MakeOperation = Callable[[keras.Operation], keras.Operation]
CallLayer = Callable[..., Any]
_REPLACEABLE = ("activation", "_initializer", "_regularizer", "_constraint")


def rebuild(
    model: keras.Model,
    make_layer: MakeLayer,
    call_layer: CallLayer | None = None,
    weights: Callable[[keras.Layer, keras.Variable], Any] | None = None,
    *,
    make_operation: MakeOperation | None = None,
    may_add_weights: bool = False,
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

    Returns:
        A new model: sequential if `model` is and there is no `call_layer`, otherwise functional.

    Raises:
        UnsupportedLayerError: The model has no graph.
    """
    if functional_graph(model) is None:
        raise UnsupportedLayerError(
            f"expected a functional or sequential model, received {model.name} ({type(model).__name__}); "
            "rebuild it as keras.Model(inputs, outputs)"
        )
    copies = _Copies(make_layer, make_operation or copy_operation, call_layer)
    new = copies.model(model, [tensor.shape for tensor in functional_graph(model).inputs])
    for old_layer, new_layer in copies.layers:
        for variable, target in _matched(old_layer, new_layer, may_add_weights):
            target.assign(variable if weights is None else weights(old_layer, variable))
        if hasattr(old_layer, "save_assets"):  # such as a vocabulary, which is neither a weight nor a setting
            with TemporaryDirectory() as folder:
                old_layer.save_assets(folder)
                new_layer.load_assets(folder)
    for old_layer, new_layer in copies.layers:
        for old_part, new_part in zip(flat_layers(old_layer), flat_layers(new_layer), strict=False):
            new_part.trainable = old_part.trainable
    if model.compiled:
        _compile_alike(model, new)
    return new


def _compile_alike(model: keras.Model, new: keras.Model) -> None:
    """Compiles a copy with the same losses, and with a new optimizer and new metrics.

    An optimizer may have a method `fitting(variables)` that returns the optimizer to use for the copy's variables.
    """
    settings = compile_settings(model)
    for key in ("metrics", "weighted_metrics"):
        settings[key] = keras.tree.map_structure(_fresh, settings.get(key))
    optimizer = _fresh(model.optimizer)
    if hasattr(optimizer, "fitting"):
        optimizer = optimizer.fitting(new.trainable_variables)
    new.compile(**{**settings, "optimizer": optimizer})
    if new.optimizer is not None:
        new.optimizer.build(new.trainable_variables)


def _fresh(value: Any) -> Any:
    """Returns a new metric or optimizer with the same settings; other values have no state and are returned."""
    has_state = isinstance(value, (keras.Metric, keras.Optimizer))
    return type(value).from_config(value.get_config()) if has_state else value


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
    """

    def __init__(self, make_layer: MakeLayer, make_operation: MakeOperation, call_layer: CallLayer | None) -> None:
        self.layers: list[tuple[keras.Layer, keras.Layer]] = []
        self._make_layer, self._make_operation, self._call_layer = make_layer, make_operation, call_layer
        self._made: dict[int, Any] = {}

    def model(self, model: keras.Model, shapes: list[Any]) -> keras.Model:
        """Copies a model for inputs of the given shapes, batch axis included."""
        graph = functional_graph(model)
        inputs = [_input(tensor, shape) for tensor, shape in zip(graph.inputs, shapes, strict=True)]
        if isinstance(model, keras.Sequential) and self._call_layer is None:
            new = keras.Sequential(inputs, name=model.name)
            for layer in model.layers:
                given = (new.outputs[0] if new.layers else inputs[0],)
                new.add(self._copy(layer, _nested_shapes(layer, given, {})))
        else:
            structured = keras.tree.pack_sequence_as(input_structure(graph), inputs)
            new = keras.Model(structured, self._run(graph, structured), name=model.name)
        new.trainable = model.trainable
        return new

    def _run(self, graph: Any, inputs: Any) -> Any:
        def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
            new = self._copy(operation, _nested_shapes(operation, args, kwargs))
            if self._call_layer is None or functional_graph(operation) is not None:
                return new(*args, **kwargs)
            return self._call_layer(new, *args, **kwargs)

        return run_through_graph(graph, inputs, call)

    def _copy(self, operation: Any, shapes: list[Any]) -> Any:
        if id(operation) not in self._made:
            self._made[id(operation)] = self._new(operation, shapes)
        return self._made[id(operation)]

    def _new(self, operation: Any, shapes: list[Any]) -> Any:
        if functional_graph(operation) is not None:
            return self.model(operation, shapes)
        if not isinstance(operation, keras.Layer):
            return self._make_operation(operation)
        if timed_graph(operation) is not None:
            own = {"name": operation.name, "dtype": operation.dtype_policy, "trainable": operation.trainable}
            return keras.layers.TimeDistributed(self._copy(operation.layer, shapes), **own)
        new = self._make_layer(operation)
        self.layers.append((operation, new))
        return new


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


def copied_layer(layer: keras.Layer, changes: Mapping[str, Callable[[Any], Any]] | None = None) -> keras.Layer:
    """Makes a layer of the same class and configuration.

    The new layer is not built, with one exception: if Keras cannot create a layer from its configuration, and there are
    no changes, what the layer holds is copied, and the copy is built if the layer is.

    Args:
        layer: The layer. It is not changed.
        changes: As for `remade_layer`.

    Returns:
        The new layer, of the same name.

    Raises:
        UnsupportedLayerError: The layer can neither be created from its configuration nor copied.
    """
    try:
        return remade_layer(layer, changes)
    except UnsupportedLayerError as error:
        if changes:
            raise
        try:
            return duplicated(layer)
        except Exception as reason:
            raise UnsupportedLayerError(f"{error}, or what stops a copy of it: {first_line(reason)}") from reason


def recast_layer(layer: keras.Layer, dtype: str) -> keras.Layer:
    """Does the same as `copied_layer`, but with another dtype policy, except for input layers.

    Args:
        layer: The layer. It is not changed.
        dtype: The policy, such as `mixed_bfloat16`.
    """
    if isinstance(layer, keras.layers.InputLayer):
        return copied_layer(layer)
    try:
        return remade_layer(layer, {"dtype": lambda _: dtype})
    except UnsupportedLayerError:  # its configuration has no dtype, or cannot be read back
        new = copied_layer(layer)
        new.dtype_policy = dtype
        return new


def why_not_remade(layer: keras.Layer) -> str | None:
    """Returns why a layer of other sizes cannot be made from a layer's configuration; None if it can.

    Args:
        layer: Any layer.
    """
    if not any(_is_foreign(part) for part in flat_layers(layer)):
        return None
    try:
        remade_layer(layer)
    except UnsupportedLayerError as error:
        return _cause(error.__cause__ or error)
    return None


def _cause(error: BaseException) -> str:
    """Returns in one line what an error of Keras' deserialization says of its cause."""
    return first_line(ValueError(str(error).rpartition("Exception encountered: ")[2]))


def _is_foreign(layer: keras.Layer) -> bool:
    """Returns whether a layer or one of its settings is not Keras' own."""
    settings = (value for key, value in vars(layer).items() if key.endswith(_REPLACEABLE))
    return not _is_keras(type(layer)) or any(callable(value) and not _is_keras(value) for value in settings)


def remade_layer(layer: keras.Layer, changes: Mapping[str, Callable[[Any], Any]] | None = None) -> keras.Layer:
    """Makes a layer of the same class from a layer's configuration. The new layer is not built.

    User-defined functions and objects, such as an activation, are passed on as they are, since Keras may not find them
    by name. Initializers that fit only the old shapes are replaced by zeros.

    Args:
        layer: The layer. It is not changed.
        changes: Maps the old value of a setting to the new one, by its key in the configuration; `layer.units` is the
            setting `units` of a wrapped layer, `cell.cells.0.units` that of the first of several cells.

    Returns:
        The new layer, of the same name.

    Raises:
        UnsupportedLayerError: The layer cannot be created from its configuration.

    Example:
        >>> import keras
        >>> remade_layer(keras.layers.Dense(4, activation=lambda x: x + 1), {"units": lambda old: old - 1}).units
        3
    """
    try:
        config = configuration(layer)
        for key, change in (changes or {}).items():
            settings, name = _settings(config, key)
            settings[name] = change(settings[name])
        for key in [key for key in config if key.endswith("_initializer")]:
            if _fits_one_shape(getattr(layer, key, None), bool(changes)):
                config[key] = "zeros"
        if isinstance(layer, keras.layers.Lambda):
            return type(layer)(**config)
        # The code comes from a layer in memory, not from a file.
        with SafeModeScope(False), keras.saving.custom_object_scope(_own_kinds(layer)):
            return type(layer).from_config(config)
    except Exception as error:
        raise UnsupportedLayerError(
            f"expected layers that Keras can create from their configuration, received {layer.name} "
            f"({type(layer).__name__}), where this fails: {_cause(error)}; correct its get_config"
        ) from error


def _own_kinds(layer: keras.Layer) -> dict[str, type]:
    """Returns the classes of a layer and its wrapped layers that are not Keras' own, by name."""
    parts = [part for part in flat_layers(layer) if not _is_keras(type(part))]
    return {type(part).__name__: type(part) for part in parts}


def _settings(config: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """Returns the configuration that has a setting, which may be that of a wrapped layer, and the setting's name."""
    *wrapped, name = key.split(".")
    held: Any = config
    for each in wrapped:
        held = held[int(each)] if each.isdigit() else held[each]
        held = held if isinstance(held, list) else held["config"]
    return held, name


def configuration(layer: Any) -> dict[str, Any]:
    """Returns a layer's configuration with user-defined functions and objects as they are, without built shapes.

    Args:
        layer: Any layer.
    """
    if isinstance(layer, keras.layers.Lambda):
        keys = ("function", "arguments", "name", "trainable")
        own = {"output_shape": lambda_output_shape(layer), "mask": layer.mask, "dtype": layer.dtype_policy}
        return {key: getattr(layer, key) for key in keys} | own
    replaceable = {key: getattr(layer, key, None) for key in dir(layer) if key.endswith(_REPLACEABLE)}
    foreign = {key: value for key, value in replaceable.items() if callable(value) and not _is_own(value)}
    with _stock_activations(layer), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`")  # it is passed on as it is
        config = _unbuilt(layer.get_config())
    config.update((key, value) for key, value in foreign.items() if key in config)
    return config


@contextmanager
def _stock_activations(layer: Any) -> Iterator[None]:
    """Lets Keras write a configuration of layers whose activations it may be unable to write, such as partials."""
    found = [
        (vars(part), key, value)
        for part in (flat_layers(layer) if isinstance(layer, keras.Layer) else ())
        for key, value in vars(part).items()
        if key.endswith("activation") and callable(value) and not _is_own(value)
    ]
    for state, key, _ in found:
        state[key] = keras.activations.linear
    try:
        yield
    finally:
        for state, key, value in found:
            state[key] = value


def _unbuilt(config: Any) -> Any:
    """Returns a configuration without the shapes that the layer and wrapped layers were built for."""
    if isinstance(config, dict):
        return {key: _unbuilt(value) for key, value in config.items() if key != "build_config"}
    return [_unbuilt(each) for each in config] if isinstance(config, list) else config


def _is_keras(value: Any) -> bool:
    module = getattr(value, "__module__", None) or ""
    return module.split(".")[0] == "keras"


def _is_own(value: Any) -> bool:
    """Returns whether a function or object is Keras' own, and known to Keras by the name in a configuration."""
    written = not isfunction(value) or getattr(keras.activations, value.__name__, None) is value
    return _is_keras(value) and written


def _fits_one_shape(initializer: Any, changed: bool) -> bool:
    """Returns whether an initializer may give arrays of one shape only, which is not the new one."""
    if initializer is None or not callable(initializer):
        return False
    if isinstance(initializer, keras.initializers.Constant):
        return changed and np.ndim(initializer.value) > 0
    known = _is_keras(initializer) and isinstance(initializer, keras.initializers.Initializer)
    return not known and (changed or _is_keras(initializer))
