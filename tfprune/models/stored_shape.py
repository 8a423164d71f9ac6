"""The shape of the images that a model in a file takes."""

import json
import os
import zipfile

_LARGEST = 64 << 20


def stored_shape(path: str | os.PathLike[str]) -> tuple[int, ...] | None:
    """Reads the input shape of a functional model out of a `.keras` file, without loading it.

    Args:
        path: The file.

    Returns:
        `(height, width, channels)`; None if the file does not say it, or is no `.keras` file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > _LARGEST:
                return None
            layers = json.loads(archive.read("config.json"))["config"]["layers"]
        shape = next(layer["config"]["batch_shape"] for layer in layers if layer["class_name"] == "InputLayer")[1:]
    except (OSError, ValueError, LookupError, TypeError, StopIteration, zipfile.BadZipFile):
        return None
    return tuple(shape) if all(isinstance(size, int) for size in shape) else None
