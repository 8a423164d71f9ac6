"""Model files: reading one safely, and the size of files in words."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import h5py
import keras

import tfprune.layers  # noqa: F401  (registers the layers that a saved model may contain)
from tfprune.errors import CheckpointError, first_line
from tfprune.settings import check_model_file

_CONFIGURATION = "config.json"
_WEIGHTS = "model.weights.h5"
_UNITS = ("B", "kB", "MB", "GB")


def load_model_file(path: str) -> keras.Model:
    """Reads a model from a `.keras` file; the file gets to run no code.

    Args:
        path: The file.

    Returns:
        The model, not compiled.

    Raises:
        CheckpointError: The file is missing, damaged, hostile, or holds no model.
    """
    check_model_file(path)
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is damaged or not a Keras file; download or save it again")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged or hostile file can make Keras raise anything
        if unknown := _unknown_names(path):
            raise CheckpointError(
                f"{path} has {', '.join(unknown)}, which Keras does not know; name the Python module that registers "
                "what is missing (keras.saving.register_keras_serializable) with --plugin"
            ) from error
        raise CheckpointError(
            f"Keras does not load {path} in safe mode: {first_line(error)}; expected a model of Keras' and tfprune's "
            "own layers"
        ) from error
    if not isinstance(model, keras.Model):
        raise CheckpointError(f"expected a model in {path}, it holds a {type(model).__name__}; save the whole model")
    return model


def _unknown_names(path: str) -> tuple[str, ...]:
    """Returns the classes and functions of a model file that Keras cannot find; none if the file is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            configuration = json.loads(archive.read(_CONFIGURATION))
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile):
        return ()
    names: dict[str, None] = {}
    pending = [configuration]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            pending += reversed([value for key, value in part.items() if key != "compile_config"])
            if (name := _own_name(part)) is not None and keras.saving.get_registered_object(name) is None:
                names[f"the {'function' if part['class_name'] == 'function' else 'class'} {name}"] = None
        elif isinstance(part, list):
            pending += reversed(part)
    return tuple(names)


def _own_name(part: Mapping[str, object]) -> str | None:
    """Returns the name that what a part of a configuration describes is registered under; None if it is Keras' own."""
    if str(part.get("module")).split(".")[0] == "keras" or not part.get("registered_name"):
        return None
    name = part.get("config" if part.get("class_name") == "function" else "registered_name")
    return name if isinstance(name, str) else None


def file_size(path: str | Path) -> str:
    """Returns the size of a file, or of all files in a folder, without the state of an optimizer in a `.keras` file."""
    path = Path(path)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    size: float = sum(file.stat().st_size for file in files) - _optimizer_bytes(path)
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _optimizer_bytes(path: Path) -> int:
    """Returns how many bytes of a `.keras` file are values that its optimizer keeps."""
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        return 0
    sizes: list[int] = []

    def add(_: str, entry: object) -> None:
        if isinstance(entry, h5py.Dataset):
            sizes.append(entry.id.get_storage_size())

    with zipfile.ZipFile(path) as archive:
        if _WEIGHTS in archive.namelist():
            with archive.open(_WEIGHTS) as member, h5py.File(member, "r") as file:
                if "optimizer" in file:
                    file["optimizer"].visititems(add)
    return sum(sizes)
