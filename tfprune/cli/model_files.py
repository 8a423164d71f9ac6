"""The size of model files in words."""

from pathlib import Path

from tfprune.reading import reading
from tfprune.reading.keras_file import KerasFile

_UNITS = ("B", "kB", "MB", "GB")


def file_size(path: str | Path) -> str:
    """Returns the size of a file, or of all files in a folder, without the state of an optimizer in a `.keras` file."""
    path = Path(path)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    size: float = sum(file.stat().st_size for file in files)
    if path.suffix == ".keras":
        with reading(path, "a Keras model"):
            size -= KerasFile(path).optimizer_bytes
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
