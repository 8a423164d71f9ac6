"""The formats that `export` writes, and `export` itself.

A new format is a module with a function that writes it, `write(model, path, **options)`, and a line in `FORMATS`: the
names and suffixes that `export` and `tfprune export` accept follow from it. The functions are only named here, so that
the command line starts without TensorFlow.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfprune.errors import ConfigError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Format:
    """A format of exported models.

    Attributes:
        name: Its name, a value of `format`.
        suffix: Suffix of its files; empty if it is a folder, which may have any name.
        writer: The function that writes it, as `module:function`; it takes a model, a path and the options.
        options: Options of `export` that the function takes.
    """

    name: str
    suffix: str
    writer: str
    options: tuple[str, ...] = ()

    @property
    def write(self) -> Callable[..., Any]:
        """The function that writes it, imported now."""
        module, _, function = self.writer.partition(":")
        return getattr(import_module(module), function)


FORMATS = (
    Format("keras", ".keras", "tfprune.exporting.keras:save_model"),
    Format("tflite", ".tflite", "tfprune.exporting.tflite:export_tflite", ("quantize", "data", "float_io")),
    Format("onnx", ".onnx", "tfprune.exporting.onnx:export_onnx"),
    Format("packed", ".mpt", "tfprune.exporting.packed:export_packed"),
    Format("saved_model", "", "tfprune.exporting.saved_model:export_saved_model"),
)


def export(
    model: "keras.Model",
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    quantize: str | None = None,
    data: Any = None,
    float_io: bool = True,
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
    chosen = _choose_format(path, format)
    options = {"quantize": quantize, "data": data, "float_io": float_io}
    changed = {"quantize": quantize is not None, "data": data is not None, "float_io": not float_io}
    if ignored := [name for name in options if changed[name] and name not in chosen.options]:
        takers = [each.name for each in FORMATS if set(ignored) <= set(each.options)]
        raise ConfigError(
            f"expected {', '.join(ignored)} for {' or '.join(takers)} only, received them for {chosen.name}; drop them"
        )
    chosen.write(model, path, **{name: options[name] for name in chosen.options})
    return path


def suffixes_in_words(formats: Iterable[Format] = FORMATS) -> str:
    """Returns the suffixes of formats for a message, such as `.keras, .tflite or .onnx`."""
    *most, last = (each.suffix for each in formats if each.suffix)
    return f"{', '.join(most)} or {last}"


def _choose_format(path: Path, name: str | None) -> Format:
    """Returns the format to write; the suffix of a file must agree with it, a folder may have any other name."""
    implied = next((each for each in FORMATS if each.suffix == path.suffix), None)
    if name is None:
        if implied is None:
            raise ConfigError(
                f"expected a name that ends in {suffixes_in_words()}, or a folder without a suffix, received {path}; "
                "rename it, or give format='saved_model'"
            )
        return implied
    named = next((each for each in FORMATS if each.name == name), None)
    if named is None:
        raise ConfigError(f"expected a format out of {', '.join(each.name for each in FORMATS)}; received {name!r}")
    if implied is not named and not (implied is None and not named.suffix):
        raise ConfigError(f"expected a name for the format {name}, received {path}; rename it, or drop the format")
    return named
