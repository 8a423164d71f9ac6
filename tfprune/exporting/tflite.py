"""TFLite files, for LiteRT on phones and boards, in float32, with smaller weights, or with integer arithmetic.

For int8, `calibration_batches` takes examples from arrays or a `tf.data.Dataset`, on which the converter measures the
ranges of the activations.
"""

import os
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.console import quiet
from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.exporting.keras import plain_model
from tfprune.exporting.output import output_file, output_path

QUANTIZATIONS = ("float16", "dynamic", "int8")
"""Weights in float16; weights in int8 and activations in float32; weights and activations in int8."""

EXAMPLES = 1024
"""Examples used for calibration: evenly spread over longer arrays, the first ones of a dataset."""

Batch = dict[str, np.ndarray]
"""Arrays by the names of the input tensors."""

_BATCH = 32
_NO_KERNEL = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op|not yet supported for op: '(\w+)'")


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    quantize: str | None = None,
    data: Any = None,
    float_io: bool = True,
) -> None:
    """Writes a model as a TFLite file, which LiteRT runs by its signature: inputs by name, outputs `output_0`, ...

    All operations are LiteRT's own; those of TensorFlow ("Flex") are not needed to run the file.

    Args:
        model: A functional or sequential model without masks and gates.
        path: The file, ending in `.tflite`; an older one is replaced, a missing folder created.
        quantize: `None` for float32, or one of `QUANTIZATIONS`. The converter's `dynamic` leaves kernels of fewer than
            1024 values in float32.
        data: For `int8`: examples like those the model is trained on, see `calibration_batches`.
        float_io: For `int8`: inputs and outputs are float32, not int8 with the scale recorded in the file.

    Raises:
        ConfigError: A setting is wrong, or `data` do not fit the model.
        UnsupportedLayerError: See `plain_model`; or LiteRT lacks an operation of the model (in int8, if asked for).
        WriteError: The file cannot be written.
    """
    path = output_path(path, ".tflite")
    if quantize not in (None, *QUANTIZATIONS):
        raise ConfigError(f"expected quantize out of {', '.join(QUANTIZATIONS)}; received {quantize!r}")
    if quantize != "int8" and not (data is None and float_io):
        raise ConfigError(
            f"expected data and float_io=False only with quantize='int8', received {quantize=}; drop them"
        )
    plain = plain_model(model)
    options = _int8_options(plain, data, float_io) if quantize == "int8" else _float_options(quantize)
    with output_file(path) as partial:
        _convert(plain, partial, options)


def _float_options(quantize: str | None) -> dict[str, Any]:
    """Returns options of the converter for float arithmetic."""
    target: dict[str, Any] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    if quantize == "float16":
        target["supported_types"] = [tf.float16]
    return {"target_spec": target, "optimizations": [tf.lite.Optimize.DEFAULT] if quantize else []}


def _int8_options(plain: keras.Model, data: Any, float_io: bool) -> dict[str, Any]:
    """Returns options of the converter for integer arithmetic."""
    batches = calibration_batches(plain, data)
    outside = tf.float32 if float_io else tf.int8
    return {
        "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
        "optimizations": [tf.lite.Optimize.DEFAULT],
        "representative_dataset": lambda: iter(batches),
        "inference_input_type": outside,
        "inference_output_type": outside,
    }


def _convert(plain: keras.Model, path: Path, options: dict[str, Any]) -> None:
    """Writes the file; raises `UnsupportedLayerError` for operations that LiteRT lacks."""
    try:
        with quiet():
            plain.export(path, format="litert", verbose=False, **options)
    except Exception as error:  # ConverterError is not public, and quantization raises bare RuntimeErrors
        missing = sorted({first or second for first, second in _NO_KERNEL.findall(str(error))})
        if not missing:
            raise
        raise UnsupportedLayerError(
            f"expected operations that LiteRT has{' in int8' if 'representative_dataset' in options else ''}, received "
            f"{', '.join(missing)}; export to another format or without int8"
        ) from error


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
