"""Examples on which a converter measures the ranges of activations, from arrays or a `tf.data.Dataset`."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError

EXAMPLES = 1024
"""Examples used for calibration: evenly spread over longer arrays, the first ones of a dataset."""

Batch = dict[str, np.ndarray]
"""Arrays by the names of the input tensors."""

_BATCH = 32


def calibration_batches(model: keras.Model, data: Any) -> list[Batch]:
    """Returns inputs of a model from data, batch by batch, by the names of its input tensors.

    Args:
        model: A functional or sequential model.
        data: Examples as `model.fit` takes them: an array `[examples, ...]`, a list or dict of arrays for several
            inputs, a tuple `(inputs, labels)`, or a `tf.data.Dataset` of batches of one of these. Labels are not used.

    Returns:
        The batches, with at most `EXAMPLES` examples in total.

    Raises:
        ConfigError: There are no data, or they do not fit the inputs of the model.
    """
    if data is None:
        raise ConfigError("expected examples to calibrate int8 with, received none; pass data=training images")
    raw = _dataset_batches(model, data) if isinstance(data, tf.data.Dataset) else _array_batches(model, data)
    batches = list(_limited(raw))
    if not batches:
        raise ConfigError("expected at least one example to calibrate int8 with, received none; pass more data")
    return batches


def batches_of_size(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Yields the examples of batches in batches of one size; where some are missing, the first ones come again."""
    for batch in batches:
        examples = min(map(len, batch.values()))
        for start in range(0, examples, size):
            chosen = np.arange(start, start + size) % examples
            yield {name: array[chosen] for name, array in batch.items()}


def _dataset_batches(model: keras.Model, data: tf.data.Dataset) -> Iterator[Batch]:
    for element in islice(data.as_numpy_iterator(), EXAMPLES):
        yield _by_name(model, element)


def _array_batches(model: keras.Model, data: Any) -> Iterator[Batch]:
    arrays = _by_name(model, data)
    size = min(map(len, arrays.values()))
    # Files are often sorted by class: take examples from everywhere.
    chosen = np.linspace(0, size - 1, min(size, EXAMPLES)).round().astype(np.int64) if size else np.zeros(0, np.int64)
    for start in range(0, len(chosen), _BATCH):
        yield {name: array[chosen[start : start + _BATCH]] for name, array in arrays.items()}


def _limited(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Cuts batches off after `EXAMPLES` examples."""
    left = EXAMPLES
    for batch in batches:
        size = min(map(len, batch.values()))
        if size:
            yield {name: array[:left] for name, array in batch.items()}
        left -= size
        if left <= 0:
            return


def _by_name(model: keras.Model, data: Any) -> Batch:
    """Returns the arrays for the inputs of a model, checked and by name."""
    inputs = _inputs_of(model, data)
    if len(inputs) != len(model.inputs):
        raise ConfigError(
            f"expected calibration data for {len(model.inputs)} inputs ({_names(model)}), received {len(inputs)}; "
            "give (inputs, labels) as a tuple, several inputs as a list or a dict of their names"
        )
    return {tensor.name: _fitting(tensor, array) for tensor, array in zip(model.inputs, inputs, strict=True)}


def _inputs_of(model: keras.Model, data: Any) -> list[Any]:
    """Returns the flat list of inputs from data as Keras takes them."""
    inputs = data[0] if isinstance(data, tuple) and data else data
    if not isinstance(inputs, Mapping):
        return keras.tree.flatten(inputs)
    if set(inputs) == {"images", "labels"} and len(model.inputs) == 1:  # batches of tfprune.recipes.data
        return [inputs["images"]]
    missing = [tensor.name for tensor in model.inputs if tensor.name not in inputs]
    if missing:
        raise ConfigError(
            f"expected calibration data for the inputs {_names(model)}, received {', '.join(map(str, inputs))}; "
            f"add {', '.join(missing)}"
        )
    return [inputs[tensor.name] for tensor in model.inputs]


def _fitting(tensor: keras.KerasTensor, array: Any) -> np.ndarray:
    """Returns an array with the type of an input; raises `ConfigError` if the shape does not fit."""
    array = np.asarray(array)
    expected = tuple(tensor.shape)[1:]
    fits = array.ndim == len(expected) + 1 and all(
        size in (None, received) for size, received in zip(expected, array.shape[1:], strict=True)
    )
    if not fits:
        shape = ", ".join("any" if size is None else str(size) for size in expected)
        raise ConfigError(
            f"expected calibration data of shape [examples, {shape}] for the input {tensor.name}, received "
            f"{list(array.shape)}; give batches of examples as the model is trained on"
        )
    return array.astype(tensor.dtype)


def _names(model: keras.Model) -> str:
    return ", ".join(tensor.name for tensor in model.inputs)
