"""Files that are either old or new, never half."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfprune.files.writing import writing


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Replaces a file in one step when the block is through; a block that fails, or a kill, leaves the old one.

    Args:
        path: The file, in a folder that exists.

    Yields:
        The file to write instead, beside `path` and with its suffix.

    Raises:
        WriteError: It cannot be written.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        with writing(path):
            yield partial
            _to_disk(partial)
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file in one step, see `replaced_file`."""
    with replaced_file(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replaces a text file in one step, see `replaced_file`."""
    write_bytes(path, text.encode("utf-8"))


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
