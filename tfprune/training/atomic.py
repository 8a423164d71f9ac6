"""Files that are either old or new, never half."""

import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Replaces a text file in one step: a process killed meanwhile leaves the old one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
