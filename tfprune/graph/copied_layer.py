"""New layers made like old ones, from their configuration."""

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
        changes: From the old value of a setting to the new one, by its key in the configuration.

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
        config = _configuration(layer)
        config.update({key: change(config[key]) for key, change in (changes or {}).items()})
        for key in [key for key in config if key.endswith("_initializer")]:
            if _insists_on_shape(getattr(layer, key, None), bool(changes)):
                config[key] = "zeros"
        if isinstance(layer, keras.layers.Lambda):
            return type(layer)(**config)
        with SafeModeScope(False):  # the code comes out of a layer in memory, not out of a file
            return type(layer).from_config(config)
    except Exception as error:
        raise UnsupportedLayerError(
            f"expected layers that Keras can make again from their configuration, received {layer.name} "
            f"({type(layer).__name__}), where this fails: {str(error).splitlines()[0]}; mend its get_config"
        ) from error


def _configuration(layer: Any) -> dict[str, Any]:
    if isinstance(layer, keras.layers.Lambda):
        keys = ("function", "arguments", "name", "trainable")
        own = {"output_shape": layer._output_shape, "mask": layer.mask, "dtype": layer.dtype_policy}
        return {key: getattr(layer, key) for key in keys} | own
    plugged = {key: getattr(layer, key, None) for key in dir(layer) if key.endswith(_PLUGGED)}
    foreign = {key: value for key, value in plugged.items() if callable(value) and not _is_keras(value)}
    config = layer.get_config()
    config.pop("build_config", None)
    config.update((key, value) for key, value in foreign.items() if key in config)
    return config


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
