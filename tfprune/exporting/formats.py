"""The table of formats that `export` writes.

A new format is a module with a function that writes it, `write(model, path, **options)`, and a line in `FORMATS`: the
names and suffixes that `export` and `tfprune export` accept follow from it. The functions are only named here, so that
the command line starts without TensorFlow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tfprune.errors import ConfigError
from tfprune.reprs import described


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
    Format("keras", ".keras", "tfprune.exporting.keras:save_model", ("record",)),
    Format(
        "tflite",
        ".tflite",
        "tfprune.exporting.tflite:export_tflite",
        ("quantize", "data", "float_io", "batch_size", "record"),
    ),
    Format("onnx", ".onnx", "tfprune.exporting.onnx:export_onnx", ("record",)),
    Format("packed", ".mpt", "tfprune.exporting.packed:export_packed", ("record",)),
    Format("saved_model", "", "tfprune.exporting.saved_model:export_saved_model", ("record",)),
)


def suffixes_in_words() -> str:
    """Returns the suffixes of files for a message, such as `.keras, .tflite or .onnx`."""
    *most, last = (each.suffix for each in FORMATS if each.suffix)
    return f"{', '.join(most)} or {last}"


def choose_format(path: Path, name: str | None) -> Format:
    """Returns the format to write.

    Args:
        path: The file or folder. The suffix of a file must agree with the format, a folder may have any other name.
        name: Name of the format. Default: the one that the suffix of `path` names.

    Raises:
        ConfigError: There is no such format, or the path does not agree with it.
    """
    implied = next((each for each in FORMATS if each.suffix == path.suffix), None)
    if name is None:
        if implied is None:
            raise ConfigError(
                f"expected a name that ends in {suffixes_in_words()}, or a folder without a suffix, received {path}; "
                "rename it, or give format='saved_model'"
            )
        return implied
    named = next((each for each in FORMATS if isinstance(name, str) and each.name == name), None)
    if named is None:
        raise ConfigError(
            f"expected a format out of {', '.join(each.name for each in FORMATS)}; received {described(name)}"
        )
    if implied is not named and not (implied is None and not named.suffix):
        raise ConfigError(f"expected a name for the format {name}, received {path}; rename it, or drop the format")
    return named
