"""Models as files of any format."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from tfprune.console import quiet
from tfprune.errors import ConfigError
from tfprune.exporting.onnx import export_onnx
from tfprune.exporting.packed import export_packed
from tfprune.exporting.plain import plain_model
from tfprune.exporting.replacement import replaced_file, replaced_folder
from tfprune.exporting.tflite import export_tflite

SUFFIXES = {".keras": "keras", ".tflite": "tflite", ".onnx": "onnx", ".mpt": "packed", "": "saved_model"}
_CONTENT = frozenset({"saved_model.pb", "fingerprint.pb", "variables", "assets"})
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


def save_model(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a model as a `.keras` file of stock layers, all or nothing: it loads without tfprune.

    Args:
        model: A functional or sequential model without masks and gates.
        path: The file, ending in `.keras`; an older one is replaced, a missing folder made.

    Raises:
        UnsupportedLayerError: See `plain_model`.
        ConfigError: The name does not end in `.keras`, or is that of a folder.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ConfigError(f"expected a file name that ends in .keras, received {path}; rename it")
    plain = plain_model(model)
    with replaced_file(path) as partial, quiet():
        plain.save(partial)


def export_saved_model(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a model as a SavedModel, which TensorFlow alone can run (`tf.saved_model.load(path).serve`).

    Args:
        model: A functional or sequential model without masks and gates.
        path: The folder; an older SavedModel there is replaced when the new one is complete.

    Raises:
        UnsupportedLayerError: See `plain_model`.
        ConfigError: There is something else than a SavedModel at `path`; it is left alone.
    """
    with replaced_folder(Path(path), _CONTENT) as partial:
        plain = plain_model(model)
        with quiet():
            plain.export(partial, format="tf_saved_model", verbose=False)
