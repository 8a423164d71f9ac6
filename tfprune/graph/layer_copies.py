"""Copies of single layers: made again from their configuration, with other settings if wanted, or of what they hold.

Keras makes a layer from its configuration. Not every class of a user gives a complete one: some cannot be read back,
some leave a setting out without an error. If the constructor refuses what it was not written for, it is given what it
takes, from the configuration and from attributes, and the result is compared with the original. Else `copied_layer`
copies what the layer holds, and `why_not_remade` says what is wrong, so that nobody tries to make it at another width.
"""

import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from inspect import isfunction, signature
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import keras
import numpy as np

from tfprune.errors import UnsupportedLayerError, first_line
from tfprune.graph.duplicate import duplicated
from tfprune.graph.random_inputs import definite_shape, random_tensor
from tfprune.keras_private import (
    SafeModeScope,
    first_call,
    flat_layers,
    inference_arguments,
    lambda_output_shape,
)
from tfprune.layers.masked_layer import MaskedLayer

_REPLACEABLE = ("activation", "_initializer", "_regularizer", "_constraint")
_TOLERANCE = {"float64": 1e-6, "float32": 1e-4}
_ALIKE = {"float64": 1e-8, "float32": 1e-4}
_differences: "WeakKeyDictionary[keras.Layer, str | None]" = WeakKeyDictionary()
_by_arguments: "WeakSet[keras.Layer]" = WeakSet()
"""Layers whose constructor refuses their configuration, and takes a part of it and of their attributes."""


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
    if isinstance(layer, MaskedLayer):
        return MaskedLayer.around(copied_layer(layer.layer, changes), layer.masks)
    if changes:
        return remade_layer(layer, changes)
    cause = why_not_remade(layer)
    if cause is None:
        return remade_layer(layer)
    try:
        return duplicated(layer)
    except Exception as reason:
        raise UnsupportedLayerError(
            f"{_not_remade(layer, cause)}, or what stops a copy of it: {first_line(reason)}"
        ) from reason


def recast_layer(layer: keras.Layer, dtype: str) -> keras.Layer:
    """Does the same as `copied_layer`, but with another dtype policy, except for inputs and layers of whole numbers.

    Args:
        layer: The layer. It is not changed.
        dtype: The policy, such as `mixed_bfloat16`.
    """
    if isinstance(layer, keras.layers.InputLayer) or not keras.backend.is_float_dtype(layer.compute_dtype):
        return copied_layer(layer)
    if why_not_remade(layer) is None:
        try:
            return remade_layer(layer, {"dtype": lambda _: dtype})
        except UnsupportedLayerError:  # its configuration has no dtype
            pass
    new = copied_layer(layer)
    new.dtype_policy = dtype
    return new


def why_not_remade(layer: keras.Layer, node: Any = None) -> str | None:
    """Returns why a layer cannot be made again from its configuration, perhaps at another width; None if it can.

    A class that is not Keras' own may leave out settings without an error. A layer of it that was called is therefore
    made again, and compared with the original on random inputs.

    Args:
        layer: Any layer.
        node: Keras' record of a call of it, such as one within an opened layer. Default: that of its first call.
    """
    if isinstance(layer, MaskedLayer):
        return why_not_remade(layer.layer)
    if not any(_is_foreign(part) for part in flat_layers(layer)):
        return None
    if layer not in _differences:
        with random_state_kept(), default_policy(flat_layers(layer)[-1].dtype_policy):  # of layers that it makes
            _differences[layer] = _why_not_remade(layer, node or first_call(layer))
    return _differences[layer]


def _why_not_remade(layer: keras.Layer, node: Any) -> str | None:
    """Tries the configuration; if the constructor refuses it, what of it and of the attributes this takes."""
    try:
        return _difference(layer, remade_layer(layer), node, {})[0]
    except UnsupportedLayerError as error:
        reason = _cause(error.__cause__ or error)
    _by_arguments.add(layer)
    try:
        if _is_same(layer, remade_layer(layer), node) and "name" in configuration(layer):
            return None
    except UnsupportedLayerError:
        pass
    _by_arguments.discard(layer)
    return reason


def _is_same(layer: keras.Layer, new: keras.Layer, node: Any) -> bool:
    """Returns whether two layers were seen to compute the same, on their own and on random weights."""
    rng = np.random.default_rng(0)
    floats = [each for each in layer.variables if keras.backend.is_float_dtype(each.dtype)]
    drawn = {id(each): keras.ops.convert_to_tensor(rng.uniform(0.5, 1.5, each.shape), each.dtype) for each in floats}
    return all(_difference(layer, new, node, weights) == (None, True) for weights in ({}, drawn))


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Restores Python's random state, from which Keras draws the seeds of initializers of new layers."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


@contextmanager
def default_policy(policy: Any) -> Iterator[None]:
    """Sets the dtype policy of layers that are made without one.

    Args:
        policy: The policy, or its name.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _difference(layer: keras.Layer, new: keras.Layer, call: Any, weights: Mapping[int, Any]) -> tuple[str | None, bool]:
    """Compares a layer that was made again with the original.

    Args:
        layer: The original.
        new: The other one.
        call: Keras' record of a call of the original; None if there is none.
        weights: Values to use instead of those of the original's variables, by their `id`.

    Returns:
        How they differ, None if they do not, and whether they were compared.
    """
    if call is None or not layer.built:
        return None, False
    rng = np.random.default_rng(0)
    values = {id(each): random_tensor(_shape_of_few(each), each.dtype, rng) for each in call.input_tensors}
    arguments, named = inference_arguments(call, values)
    try:
        given = [(each, weights[id(each)]) for each in layer.variables if id(each) in weights]
        with keras.StatelessScope(state_mapping=given):  # the user's layer keeps its state
            expected, again = (_arrays(layer(*arguments, **named)) for _ in range(2))
    except Exception:  # these values may mean nothing to it, such as numbers of a lookup table
        return None, False
    if not all(np.array_equal(*pair, equal_nan=True) for pair in zip(expected, again, strict=True)):
        return None, False  # it is random
    try:
        new(*arguments, **named)  # builds it
        if [each.shape for each in new.variables] != [each.shape for each in layer.variables]:
            return "it would have other weights", True
        for old_variable, new_variable in zip(layer.variables, new.variables, strict=True):
            new_variable.assign(weights.get(id(old_variable), old_variable))
        found = _arrays(new(*arguments, **named))
    except Exception as error:
        return first_line(error), True
    same = [_same(*pair, layer.compute_dtype) for pair in zip(found, expected, strict=True)]
    return (None if all(same) else "it would compute something else, so a setting is missing there"), True


def _shape_of_few(tensor: keras.KerasTensor) -> tuple[int, ...]:
    """Returns the shape of a symbolic tensor with few examples, however many it is for."""
    return definite_shape((None, *tensor.shape[1:]) if tensor.shape else ())


def _arrays(values: Any) -> list[np.ndarray]:
    return [np.asarray(keras.ops.convert_to_numpy(each)) for each in keras.tree.flatten(values)]


def _same(found: np.ndarray, expected: np.ndarray, dtype: str) -> bool:
    if not np.issubdtype(expected.dtype, np.floating):
        return np.array_equal(found, expected)
    return are_close(found, expected, _TOLERANCE.get(dtype, 1e-1))


def are_close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    """Returns whether two arrays are equal but for rounding; NaN equals NaN.

    Args:
        found: The one.
        expected: The other one.
        tolerance: Largest difference, relative to the value and to the largest finite value.
    """
    if found.shape != expected.shape:
        return False
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    return np.allclose(found, expected, rtol=tolerance, atol=tolerance * largest, equal_nan=True)


def arrays_agree(found: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    """Returns whether two arrays are equal but for rounding, and not all NaN or infinite; see `are_close`."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return bool(np.isfinite(expected).any()) and are_close(found, expected, tolerance)


def alike(found: Any, expected: Any, dtype: str) -> bool:
    """Returns whether two results are equal but for rounding, and not all NaN or infinite.

    Args:
        found: The one, a tensor.
        expected: The other one.
        dtype: The type of numbers that they were computed in.
    """
    one, other = (np.asarray(keras.ops.cast(each, "float64")) for each in (found, expected))
    return arrays_agree(one, other, _ALIKE.get(dtype, 5e-2))


def _not_remade(layer: keras.Layer, cause: str) -> str:
    """Returns the beginning of a message on a layer that Keras does not make again."""
    return (
        f"expected layers that Keras can create from their configuration, received {layer.name} "
        f"({type(layer).__name__}), where this fails: {cause}; correct its get_config"
    )


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
    if isinstance(layer, MaskedLayer):
        return MaskedLayer.around(remade_layer(layer.layer, changes), layer.masks)
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
            new = type(layer).from_config(config)
        if layer in _by_arguments or _lacks_settings(layer):  # so that Keras can load what it saves of the new layer
            new.get_config = partial(_arguments_of, new)  # type: ignore[method-assign]
        _return_activations(layer, new)
        new.name = layer.name  # a class without `get_config` may write none
        return new
    except Exception as error:
        raise UnsupportedLayerError(_not_remade(layer, _cause(error))) from error


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


def configuration(layer: Any, *, stock: bool = False) -> dict[str, Any]:
    """Returns a layer's configuration with user-defined functions and objects as they are, without built shapes.

    Args:
        layer: Any layer.
        stock: Whether to return the configuration of the layer of Keras that a layer of ours stands for.
    """
    if isinstance(layer, keras.layers.Lambda):
        keys = ("function", "arguments", "name", "trainable")
        own = {"output_shape": lambda_output_shape(layer), "mask": layer.mask, "dtype": layer.dtype_policy}
        return {key: getattr(layer, key) for key in keys} | own
    replaceable = {key: getattr(layer, key, None) for key in dir(layer) if key.endswith(_REPLACEABLE)}
    foreign = {key: value for key, value in replaceable.items() if callable(value) and not _is_own(value)}
    with _stock_activations(layer), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`")  # it is passed on as it is
        config = unbuilt(layer.stock_config() if stock else _own_config(layer))
    config.update((key, value) for key, value in foreign.items() if key in config)
    return _arguments(layer, config) if layer in _by_arguments else config


def _arguments(layer: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a layer's constructor takes, from its configuration or from attributes of the same names."""
    found: dict[str, Any] = {}
    for kind in type(layer).__mro__:
        if "__init__" not in vars(kind):
            continue
        parameters = signature(vars(kind)["__init__"]).parameters
        for name in parameters:
            if name in config:
                found.setdefault(name, config[name])
            elif kind is not keras.Layer and name in vars(layer):
                found.setdefault(name, getattr(layer, name))
        if kind is keras.Layer or not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            break
    return found


def _arguments_of(layer: Any) -> dict[str, Any]:
    """Returns a configuration that the constructor takes; the class's own method returns another one."""
    return _arguments(layer, _own_config(layer))


def _lacks_settings(layer: Any) -> bool:
    """Returns whether `get_config` reads attributes that a layer does not have."""
    try:
        type(layer).get_config(layer)
    except AttributeError as error:
        return id(getattr(error, "obj", None)) == id(layer)
    except Exception:
        return False
    return False


def _own_config(layer: Any) -> dict[str, Any]:
    """Returns what `get_config` says; if it fails on an attribute, those that the constructor's arguments name.

    Keras' own method fails where arguments were objects, such as a dtype policy; then a guess must be compared.
    """
    try:
        return type(layer).get_config(layer)
    except (AttributeError, NotImplementedError) as error:
        kind: Any = type(layer)
        stock = kind.__module__.startswith("keras.")
        if id(getattr(error, "obj", None)) != id(layer) and layer not in _by_arguments and not stock:
            raise
        names = [name for name in signature(kind.__init__).parameters if name in vars(layer)]
        policy = layer.dtype_policy
        plain = type(policy) is keras.DTypePolicy  # by its name, the copy can be saved
        own = {"name": layer.name, "trainable": layer.trainable, "dtype": policy.name if plain else policy}
        return {name: getattr(layer, name) for name in names} | own


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


def _return_activations(old: keras.Layer, new: keras.Layer) -> None:
    """Gives the layers within a new layer the activations that `_stock_activations` kept out of its configuration.

    Those that the layer has itself are in its configuration, for all layers that it makes.
    """
    inner, made = flat_layers(old)[1:], flat_layers(new)[1:]
    passed = [value for key, value in vars(old).items() if key.endswith("activation")]
    for number, part in enumerate(inner):
        for key, value in vars(part).items():
            if any(value is each for each in passed):
                continue
            if key.endswith("activation") and callable(value) and not _is_own(value):
                if len(made) != len(inner) or type(made[number]) is not type(part):
                    raise ValueError(f"{part.name} within it has an activation of its own")
                setattr(made[number], key, value)


def unbuilt(config: Any) -> Any:
    """Returns a configuration without the shapes that the layer and what is in it were built for."""
    if isinstance(config, dict):
        return {key: unbuilt(value) for key, value in config.items() if key != "build_config"}
    return [unbuilt(each) for each in config] if isinstance(config, list) else config


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
