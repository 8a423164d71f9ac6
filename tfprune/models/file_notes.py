"""What a `.keras` file says of itself besides the model: where it comes from, and what its inputs are."""

import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any

_MEMBER = "tfprune.json"
_LARGEST = 1 << 20


def write_notes(path: str | os.PathLike[str], notes: Mapping[str, Any]) -> None:
    """Adds notes to a `.keras` file; Keras does not look at them.

    Args:
        path: The file, which has none yet.
        notes: Plain values by name.
    """
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_MEMBER, json.dumps(dict(notes), indent=1) + "\n")


def read_notes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The notes of a `.keras` file.

    Args:
        path: The file.

    Returns:
        The notes; empty if the file has none that can be read, or is no `.keras` file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(_MEMBER).file_size > _LARGEST:
                return {}
            notes = json.loads(archive.read(_MEMBER))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return {}
    return notes if isinstance(notes, dict) else {}
