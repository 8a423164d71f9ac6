"""New layers made like old ones, from their configuration."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras.src.saving.serialization_lib import SafeModeScope

from tfprune.errors import UnsupportedLayerError

_PLUGGED = ("activation", "_initializer", "_regularizer", "_constraint")


def copied_layer(layer: keras.Layer, changes: Mapping[str, Callable[[Any], Any]] | None = None) -> keras.Layer:
    """Makes a layer of the same class and configuration, without weights as yet.

    Functions and objects of the user's own, such as an activation, are handed on as they are, as Keras may not find
    them by their names. Initializers that insist on the old shapes are replaced by zeros.

    Args:
        layer: The layer. It is not changed.
        changes: From the old value of a setting to the new one, by its key in the configuration; `layer.units` is a
            setting of a wrapped layer.

    Returns:
        The new layer, of the same name.

    Raises:
        UnsupportedLayerError: The layer's class cannot be made from what its `get_config` says.

    Example:
        >>> import keras
        >>> copied_layer(keras.layers.Dense(4, activation=lambda x: x + 1), {"units": lambda old: old - 1}).units
        3
    """
    try:
        config = configuration(layer)
        for key, change in (changes or {}).items():
            settings, name = _settings(config, key)
            settings[name] = change(settings[name])
        for key in [key for key in config if key.endswith("_initializer")]:
            if _insists_on_shape(getattr(layer, key, None), bool(changes)):
                config[key] = "zeros"
        if isinstance(layer, keras.layers.Lambda):
            return type(layer)(**config)
        # The code comes out of a layer in memory, not out of a file.
        with SafeModeScope(False), keras.saving.custom_object_scope(_own_kinds(layer)):
            return type(layer).from_config(config)
    except Exception as error:
        raise UnsupportedLayerError(
            f"expected layers that Keras can make again from their configuration, received {layer.name} "
            f"({type(layer).__name__}), where this fails: {str(error).splitlines()[0]}; mend its get_config"
        ) from error


def _own_kinds(layer: keras.Layer) -> dict[str, type]:
    """The classes of wrapped layers that Keras does not know, by name."""
    parts = [part for part in layer._flatten_layers() if not _is_keras(type(part))]
    return {type(part).__name__: type(part) for part in parts}


def _settings(config: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The configuration that holds a setting, which may be that of a wrapped layer, and the setting's name there."""
    *wrapped, name = key.split(".")
    for each in wrapped:
        config = config[each]["config"]
    return config, name


def configuration(layer: Any) -> dict[str, Any]:
    """A layer's configuration, with functions and objects of the user's own as they are, and without built shapes."""
    if isinstance(layer, keras.layers.Lambda):
        keys = ("function", "arguments", "name", "trainable")
        own = {"output_shape": layer._output_shape, "mask": layer.mask, "dtype": layer.dtype_policy}
        return {key: getattr(layer, key) for key in keys} | own
    plugged = {key: getattr(layer, key, None) for key in dir(layer) if key.endswith(_PLUGGED)}
    foreign = {key: value for key, value in plugged.items() if callable(value) and not _is_keras(value)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`")  # it is handed on as it is
        config = _unbuilt(layer.get_config())
    config.update((key, value) for key, value in foreign.items() if key in config)
    return config


def _unbuilt(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the shapes that layers were built for, wrapped layers' included."""
    return {
        key: _unbuilt(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key != "build_config"
    }


def _is_keras(value: Any) -> bool:
    module = getattr(value, "__module__", None) or ""
    return module.split(".")[0] == "keras"


def _insists_on_shape(initializer: Any, changed: bool) -> bool:
    """Whether an initializer may give an array of one shape only, which is not what is wanted."""
    if initializer is None or not callable(initializer):
        return False
    if isinstance(initializer, keras.initializers.Constant):
        return changed and np.ndim(initializer.value) > 0
    known = _is_keras(initializer) and isinstance(initializer, keras.initializers.Initializer)
    return not known and (changed or _is_keras(initializer))
