"""Models from `.keras` files of anyone: nothing in a file is run, and it takes no more memory than it stores.

`load_model` makes the model of the configuration in the file, which may name Keras' and tfprune's own layers, and
classes and functions that were registered in Keras. A model may have no more values than the file.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfprune.layers  # noqa: F401  (registers the layers that a saved model may contain)
from tfprune.errors import CheckpointError, first_line
from tfprune.files import as_path
from tfprune.keras_private import SafeModeScope, SharedObjects, compute_output_spec, forget_pending, load_state
from tfprune.reading import RefusedError, reading
from tfprune.reading.keras_config import check_work, name_sequences, unknown_names
from tfprune.reading.keras_file import KerasFile, value_count
from tfprune.settings import check_model_file

_FREE = 1 << 20  # values that need not be in the file: states of random generators and of recurrent layers
_BUILT_ONCE = "tfprune>BuiltOnce"
_CAUSE = "Exception encountered: "  # in messages of Keras, before the one that it had caught


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Reads a model from a `.keras` file that anyone may have made.

    `keras.saving.load_model` is for files that one trusts: others can make it fill the memory, or run for hours.

    Args:
        path: The file.

    Returns:
        The model, not compiled.

    Raises:
        CheckpointError: The file is missing, damaged, hostile, or holds no model; or it has layers or functions that
            are not registered.
        ConfigError: The path is none.

    Example:
        >>> keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save("model.keras")
        >>> tfprune.load_model("model.keras").count_params()
        10
    """
    path = as_path(path)
    check_model_file(str(path))
    with reading(path, "a Keras model", advice="fetch it again, or save it by model.save()"):
        file = KerasFile(path)
        model = described_model(path, file.config, most=value_count(file.arrays) + _FREE)
        with file.assets() as assets:
            _fill(model, file.arrays, assets)
    return model


def described_model(path: str | os.PathLike[str], config: Mapping[str, Any], *, most: int) -> keras.Model:
    """Makes the model that a configuration describes; to be used within `reading`.

    Args:
        path: The file that it comes from.
        config: The configuration, of `tfprune.reading.keras_config`.
        most: The most values that its variables may have together.

    Returns:
        The model, with new initial weights.

    Raises:
        CheckpointError: It describes something else, or has classes or functions that are not registered.
        RefusedError: It describes a larger model, or names what is no part of one.
        Exception: It is damaged; of any type.
    """
    check_work(config)
    if unknown := unknown_names(config, _is_registered):
        raise CheckpointError(
            f"{path} has {', '.join(unknown)}, which Keras does not know; name the Python module that registers what "
            "is missing (keras.saving.register_keras_serializable) with --plugin"
        )
    with _at_most(most):
        model = _build(config)
    if not isinstance(model, keras.Model):
        raise CheckpointError(f"expected a model in {path}, it holds a {type(model).__name__}; save the whole model")
    return model


class _BuiltOnce:
    """Makes a sequential model by one pass over its layers; Keras makes it again for each of them."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> keras.Sequential:
        """Returns the model of a configuration of `keras.Sequential`."""
        layers = [keras.saving.deserialize_keras_object(each, safe_mode=True) for each in config["layers"]]
        model = keras.Sequential(layers, name=config["name"])
        shape = config.get("build_input_shape")
        if not model.built and isinstance(shape, list | tuple):
            model.build(shape)
        return model


def _build(config: Mapping[str, Any]) -> Any:
    """Returns what a configuration describes, with new initial weights."""
    name_sequences(config, _BUILT_ONCE)
    with SafeModeScope(True), SharedObjects(), keras.saving.custom_object_scope({_BUILT_ONCE: _BuiltOnce}):
        try:
            return keras.saving.deserialize_keras_object(config, safe_mode=True)
        except TypeError as error:
            raise RefusedError(first_line(TypeError(str(error).rpartition(_CAUSE)[2]))) from error


def _is_registered(name: str) -> bool:
    return keras.saving.get_registered_object(name) is not None


def _fill(model: keras.Model, arrays: Mapping[str, np.ndarray], assets: str | None) -> None:
    """Gives a model its weights."""
    failures = load_state(model, arrays, assets)
    if failures:
        layer, error = failures[0]
        reason = f"{first_line(error):.120}"
        raise RefusedError(f"its weights do not fit {len(failures)} layers, first {layer.name}: {reason}")


@contextmanager
def _at_most(count: int) -> Iterator[None]:
    """Lets the block create variables of so many values in this thread, and refuses more before they take memory."""
    left = count

    def create(next_creator: Any, **settings: Any) -> Any:
        nonlocal left
        left -= math.prod(_shape(settings["initial_value"]))
        if left < 0:
            raise RefusedError("")
        return next_creator(**settings)

    try:
        with tf.variable_creator_scope(create):
            yield
    except Exception:  # Keras makes others of those that it lets through
        if left >= 0:
            raise
    finally:
        forget_pending()
    if left < 0:  # Keras goes on after some errors
        raise RefusedError("it describes a model of more weights than it has")


def _shape(value: Any) -> Sequence[int]:
    """Returns the shape of an initial value, which is not made if it is a function."""
    if not callable(value):
        return tf.convert_to_tensor(value).shape
    with keras.StatelessScope(initialize_variables=False):  # else those that wait are made, within another
        return compute_output_spec(value).shape
