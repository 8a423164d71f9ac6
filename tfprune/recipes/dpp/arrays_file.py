"""The .npz files of the commands: arrays and settings, written in one step."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import CheckpointError
from tfprune.files import write_bytes


def save_arrays(path: str | Path, kind: str, arrays: Mapping[str, Any]) -> None:
    """Writes arrays, numbers and texts to an .npz file, along with what it is."""
    buffer = io.BytesIO()
    named: dict[str, Any] = {name: np.asarray(each) for name, each in arrays.items()}
    np.savez_compressed(buffer, kind=np.array(kind), **named)
    write_bytes(Path(path), buffer.getvalue())


def load_arrays(path: str | Path, kind: str) -> dict[str, np.ndarray]:
    """Reads what `save_arrays` wrote.

    Args:
        path: The file.
        kind: What it must be.

    Returns:
        The arrays.

    Raises:
        CheckpointError: It cannot be read, or is something else.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as found:  # np.load alone may leave it open
            arrays = {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"expected an .npz file with a {kind}, cannot read {path}: {error}") from error
    holds = str(arrays.get("kind", "something else"))
    if holds != kind:
        raise CheckpointError(f"expected a {kind}, {path} holds {holds}; give the file of the {kind}")
    return arrays
