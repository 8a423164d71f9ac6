"""`export`, and the files that it writes, which are replaced in one step when they are complete.

`output_file` is stricter than `tfprune.files.replaced_file`: a user names these paths, so what is replaced must be of
the same kind, and missing folders are created.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from tfprune.arguments import truth
from tfprune.errors import ConfigError
from tfprune.exporting.formats import FORMATS, choose_format
from tfprune.exporting.record import Record
from tfprune.files import as_file, as_path, replaced_file


def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    quantize: str | None = None,
    data: Any = None,
    float_io: bool = True,
    batch_size: int | None = None,
    record: Record | None = None,
) -> Path:
    """Writes a model to a file (or folder) that runs without tfprune; a failure leaves an older file as it is.

    Args:
        model: A functional or sequential model without masks and gates, with any number of inputs and outputs. It is
            not changed; the file is float32 whatever its policy.
        path: `name.keras`, `name.tflite`, `name.onnx`, `name.mpt`, or a folder for a SavedModel. An older one of the
            same format is replaced.
        format: `keras`, `tflite`, `onnx`, `packed` (one bit per kept weight of a sub-network) or `saved_model`.
            Default: the one that the suffix of `path` names.
        quantize: For `tflite`: `float16` and `dynamic` make the weights smaller, `int8` also the arithmetic.
        data: For `int8`: examples like those the model is trained on, as arrays (`images`, `(images, labels)`, a list
            or dict for several inputs) or a `tf.data.Dataset` of batches of them; 1024 examples are used.
        float_io: For `int8`: inputs and outputs are float32, not int8.
        batch_size: For `tflite`: examples per call of the file. Default: any number, where LiteRT can (not for
            recurrent layers and many U-Nets, whose files take one example at a time; a warning says so).
        record: What to store in the file about the model: plain values by name, see `record_text`. `read_record` reads
            them, `read_packed_record` those of `.mpt` files; ONNX has them in its metadata. Default: nothing.

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
    float_io = truth("float_io", float_io)
    chosen = choose_format(as_path(path), format)
    options = {"quantize": quantize, "data": data, "float_io": float_io, "batch_size": batch_size, "record": record}
    defaults = {"quantize": None, "data": None, "float_io": True, "batch_size": None, "record": None}
    if ignored := [name for name in options if options[name] is not defaults[name] and name not in chosen.options]:
        takers = [each.name for each in FORMATS if set(ignored) <= set(each.options)]
        raise ConfigError(
            f"expected {', '.join(ignored)} for {' or '.join(takers)} only, received them for {chosen.name}; drop them"
        )
    chosen.write(model, path, **{name: options[name] for name in chosen.options})
    return as_path(path)


def output_path(path: str | os.PathLike[str], suffix: str) -> Path:
    """Returns the path of a file to write; raises `ConfigError` if it has another suffix."""
    path = as_file(path)
    if path.suffix != suffix:
        raise ConfigError(f"expected a file name that ends in {suffix}, received {path}; rename it")
    return path


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """Replaces a file in one step when the block is complete; a block that fails leaves the old one.

    Args:
        path: The file; a missing folder is created.

    Yields:
        The file to write instead, beside `path` and with its suffix.

    Raises:
        ConfigError: There is something other than a file at `path`; it is not changed.
        WriteError: It cannot be written.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"expected a file to replace or nothing at {path}, found something else; name another")
    with replaced_file(path) as partial:
        yield partial
