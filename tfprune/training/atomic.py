"""Files that are either old or new, never half."""

import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Replaces a text file in one step, see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file in one step: a process killed meanwhile leaves the old one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
