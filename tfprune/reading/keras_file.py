"""The parts of a `.keras` file: the configuration of a model, its weights, its vocabularies.

Nothing here makes a model; `tfprune.model_file` does.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tfprune.reading.archives import open_archive, read_member
from tfprune.reading.content import RefusedError, shown
from tfprune.reading.hdf5 import read_arrays
from tfprune.reading.keras_config import parse_config

_CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"
_ASSETS = "assets"
_LARGEST_CONFIG = 16 << 20  # bytes
_OPTIMIZER = "optimizer/"


class KerasFile:
    """A `.keras` file that was read, and whose parts were checked.

    Attributes:
        config: The configuration of the model, as JSON has it, without what it was compiled with.
        arrays: Its weights by name, such as `layers/dense/vars/0`.
        optimizer_bytes: How many bytes of the file are values that an optimizer keeps.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be opened.
        RefusedError: It is no such file, or is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._assets: dict[PurePosixPath, bytes] = {}
        with open_archive(path) as archive:
            self.config = parse_config(read_member(archive, _CONFIG, _LARGEST_CONFIG))
            sizes = {member.filename: member.file_size for member in archive.infolist()}
            arrays = read_arrays(read_member(archive, _WEIGHTS, sizes.get(_WEIGHTS, 0)))
            for name in sizes:
                asset = PurePosixPath(name)
                if asset.parts[:1] == (_ASSETS,) and not name.endswith("/"):
                    if ".." in asset.parts or "\\" in name or "\0" in name:
                        raise RefusedError(f"its member {shown(name)} is outside its folder")
                    self._assets[asset.relative_to(_ASSETS)] = read_member(archive, name, sizes[name])
        self.arrays = {name: array for name, array in arrays.items() if not name.startswith(_OPTIMIZER)}
        self.optimizer_bytes = sum(array.nbytes for name, array in arrays.items() if name not in self.arrays)

    @contextmanager
    def assets(self) -> Iterator[str | None]:
        """Yields a temporary folder with the files that layers read, such as vocabularies; None if there are none."""
        if not self._assets:
            yield None
            return
        with TemporaryDirectory() as folder:
            for name, content in self._assets.items():
                file = Path(folder, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            yield folder


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the configuration in a `.keras` file; arguments and errors as for `KerasFile`."""
    with open_archive(path) as archive:
        return parse_config(read_member(archive, _CONFIG, _LARGEST_CONFIG))


def value_count(arrays: Mapping[str, np.ndarray]) -> int:
    """Returns how many values arrays have together."""
    return sum(array.size for array in arrays.values())
