"""Models as files of any format."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from tfprune.errors import ConfigError
from tfprune.exporting.export_onnx import export_onnx
from tfprune.exporting.export_saved_model import export_saved_model
from tfprune.exporting.export_tflite import export_tflite
from tfprune.exporting.packed_model import export_packed
from tfprune.exporting.save_model import save_model

SUFFIXES = {".keras": "keras", ".tflite": "tflite", ".onnx": "onnx", ".mpt": "packed", "": "saved_model"}
"""The format that a name's end stands for; that of a folder without one is `saved_model`."""


def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    quantize: str | None = None,
    data: Any = None,
    float_io: bool = True,
) -> Path:
    """Writes a model to a file (or folder) that runs without tfprune, all or nothing.

    Args:
        model: A functional or sequential model without masks and gates, of any number of inputs and outputs. It is
            not changed; the file is float32 whatever its policy.
        path: `name.keras`, `name.tflite`, `name.onnx`, `name.mpt`, or a folder for a SavedModel. An older one of the
            same kind is replaced.
        format: `keras`, `tflite`, `onnx`, `packed` (one bit per kept weight of a sub-network) or `saved_model`.
            Default: what the end of `path` stands for.
        quantize: For `tflite`: `float16` and `dynamic` make the weights smaller, `int8` the arithmetic, too.
        data: For `int8`: examples such as the model is trained on, as arrays (`images`, `(images, labels)`, a list or
            dict for several inputs) or a `tf.data.Dataset` of batches of them; 1024 examples are looked at.
        float_io: For `int8`: inputs and outputs are float32, not int8.

    Returns:
        The path written.

    Raises:
        ConfigError: A setting is wrong, `data` do not fit the model, a package is missing (`pip install
            'tfprune[onnx]'`), or there is something else at `path`.
        UnsupportedLayerError: The model cannot be expressed in the format; the message names the layers or operations.

    Example:
        >>> import keras, tfprune
        >>> inputs = keras.Input((8,))
        >>> model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
        >>> tfprune.export(model, "dense.tflite", quantize="dynamic").name
        'dense.tflite'
    """
    path = Path(path)
    kind = _format(path, format)
    if kind == "tflite":
        export_tflite(model, path, quantize=quantize, data=data, float_io=float_io)
        return path
    if quantize is not None or data is not None or not float_io:
        raise ConfigError(f"expected quantize, data and float_io for tflite only, received them for {kind}; drop them")
    writers: dict[str, Callable[..., Any]] = {"keras": save_model, "onnx": export_onnx, "packed": export_packed}
    writers.get(kind, export_saved_model)(model, path)
    return path


def _format(path: Path, format: str | None) -> str:
    """The format to write; a file's name must agree with it, the name of a SavedModel's folder is free."""
    implied = SUFFIXES.get(path.suffix)
    if format is None:
        if implied is None:
            raise ConfigError(
                f"expected a name that ends in .keras, .tflite, .onnx or .mpt, or a folder without a suffix, received "
                f"{path}; rename it, or give format='saved_model'"
            )
        return implied
    if format not in SUFFIXES.values():
        raise ConfigError(f"expected a format out of {', '.join(SUFFIXES.values())}; received {format!r}")
    if implied != format and not (format == "saved_model" and implied is None):
        raise ConfigError(f"expected a name for the format {format}, received {path}; rename it, or drop the format")
    return format
