"""Masks in files."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import CheckpointError, ConfigError
from tfprune.files import replaced_file

FORMAT = "tfprune masks 1"
# What a `Ticket` has beside its masks; passed over here, so that its file is one of masks, too.
ORIGIN = "origin"
WEIGHTS = "weights/"
_NO_AXIS = -1
_PARTS = ("format", "names", "shapes", "bits")


def save_masks(masks: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Writes masks to an `.npz` file, in one step.

    It holds `format`, `names` `[masks]`, `shapes` `[masks, largest rank]` (-1 after a shape's end) and `bits`, those of
    all masks one after the other, rows first, eight a byte, the first one highest. Other arrays may stand beside them.

    Args:
        masks: Bool arrays by name.
        path: The file; it must end in `.npz`.

    Raises:
        ConfigError: It does not.
        WriteError: The file cannot be written.
    """
    if Path(path).suffix != ".npz":
        raise ConfigError(f"expected a file of masks that ends in .npz, received {path}; rename it")
    shapes = np.full((len(masks), max(mask.ndim for mask in masks.values())), _NO_AXIS, np.int64)
    for row, mask in zip(shapes, masks.values(), strict=True):
        row[: mask.ndim] = mask.shape
    flat = np.concatenate([mask.ravel() for mask in masks.values()])
    with replaced_file(Path(path)) as partial:
        np.savez_compressed(
            partial, format=np.array(FORMAT), names=np.array(list(masks)), shapes=shapes, bits=np.packbits(flat)
        )


def load_masks(path: str | Path) -> dict[str, np.ndarray]:
    """Reads masks from a file.

    Args:
        path: A file of `save_masks`.

    Returns:
        Bool arrays by name.

    Raises:
        CheckpointError: The file is missing, damaged, or holds something else.
    """
    arrays = _arrays(path)
    if set(_PARTS) - set(arrays) or str(arrays["format"]) != FORMAT:
        raise CheckpointError(f"expected masks that tfprune saved in {path}, found {_found(arrays)}; name another file")
    try:
        return _unpacked(arrays["names"], arrays["shapes"], arrays["bits"])
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}; save the masks again") from error


def _arrays(path: str | Path) -> dict[str, Any]:
    if not Path(path).is_file():
        raise CheckpointError(f"expected a file of masks, {path} does not exist or is a folder; check the path")
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name != ORIGIN and not name.startswith(WEIGHTS)}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(f"{path} is damaged or no .npz file; save the masks again") from error
    except Exception as error:  # zlib has an error class of its own, and damaged headers make NumPy raise anything
        raise CheckpointError(f"{path} is damaged; save the masks again") from error


def _unpacked(names: np.ndarray, shapes: np.ndarray, bits: np.ndarray) -> dict[str, np.ndarray]:
    if names.ndim != 1 or names.dtype.kind != "U" or shapes.ndim != 2 or len(shapes) != len(names):
        raise ValueError("names and shapes do not belong together")
    if len(set(names.tolist())) != len(names):
        raise ValueError("a name stands there twice")
    sizes = [tuple(int(size) for size in row if size != _NO_AXIS) for row in shapes]
    if any(size < 1 for shape in sizes for size in shape):
        raise ValueError("a shape has no size")
    counts = [int(np.prod(shape, dtype=np.int64)) for shape in sizes]
    if bits.dtype != np.uint8 or bits.ndim != 1 or len(bits) != -(-sum(counts) // 8):
        raise ValueError("there are not as many bits as weights")
    parts = np.split(np.unpackbits(bits, count=sum(counts)).astype(bool), np.cumsum(counts)[:-1])
    return {str(name): part.reshape(shape) for name, part, shape in zip(names, parts, sizes, strict=True)}


def _found(arrays: Mapping[str, Any]) -> str:
    if arrays.get("format") is not None and np.ndim(arrays["format"]) == 0:
        return f"format {str(arrays['format'])[:40]!r}"
    return f"arrays {', '.join(list(arrays)[:4]) or 'of no name'}"
