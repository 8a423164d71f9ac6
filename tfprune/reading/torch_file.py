"""Safe reading of files of `torch.save`, without PyTorch and without running any code of the file.

Since PyTorch 1.6 such a file is a zip archive of a pickle and one member per storage. Before, it was a sequence of
pickles (a magic number, the version, the machine, the content, the keys of the storages) with the storages behind them.
Either way the content is read as in `pickle_reader`, and tensors become views of storages.
"""

import os
import struct
import zipfile
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfprune.errors import CheckpointError
from tfprune.reading.archives import checked_archive, read_member
from tfprune.reading.content import RefusedError, open_file, reading, shown
from tfprune.reading.pickle_reader import Call, PickleReader, RefusedPickleError, checked_shape, is_size
from tfprune.reading.pickles import SCALARS

_LARGEST_PICKLE = 64 << 20
_ARCHIVE = b"PK\x03\x04"
_TAR = (257, b"ustar")
_POINTER = b"version https://git-lfs"
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_SHARED = 16  # how many times the size of the file its tensors may have together, as they may share their numbers
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "<u1",
}


def read_torch_file(path: Path) -> Any:
    """Reads a file of `torch.save`: containers, numbers and text, with NumPy arrays for tensors.

    Args:
        path: The file, as PyTorch has written it since version 0.1.10.

    Returns:
        The content, usually a dictionary. Arrays are read-only, and may be views of the same numbers.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind, or contains anything else.
    """
    with reading(path, "a file of torch.save", advice="download or save it again"), open_file(path) as file:
        _check_kind(file, path)
        size = os.fstat(file.fileno()).st_size
        return _read_archive(file, size) if file.read(len(_ARCHIVE)) == _ARCHIVE else _read_sequence(file, size)


def _check_kind(file: BinaryIO, path: Path) -> None:
    """Raises an error for files that are often met in place of those that can be read."""
    start, magic = _TAR
    head = file.read(start + len(magic))
    file.seek(0)
    if head.startswith(_POINTER):
        raise CheckpointError(f"{path} is a pointer of Git LFS, not the file itself; fetch it by `git lfs pull`")
    if head[start:] == magic:
        raise CheckpointError(
            f"{path} is a tar file, as PyTorch wrote it before version 0.1.10; save it again with a later one"
        )


def _read_archive(file: BinaryIO, size: int) -> Any:
    """Returns the content of a zip archive."""
    with checked_archive(file) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(names) != 1:
            raise RefusedPickleError("an archive without one data.pkl")
        members = _Members(archive, names[0].partition("/")[0], size)
        order = members.read("byteorder", 16) if members.has("byteorder") else b"little"
        _check_order(order == b"little")
        return _reader(members).load(BytesIO(members.read("data.pkl", _LARGEST_PICKLE)))


def _read_sequence(file: BinaryIO, size: int) -> Any:
    """Returns the content of a file from before PyTorch 1.6."""
    file.seek(0)
    plain = PickleReader({}, limit=1 << 10)
    for expected in (_MAGIC, _VERSION):
        if (found := plain.load(file)) != expected:
            raise RefusedError(f"it has {shown(found)} at its beginning, where {expected} was expected")
    machine = plain.load(file)
    _check_order(isinstance(machine, dict) and machine.get("little_endian") is True)
    storages = _Following(size)
    content = _reader(storages).load(file)
    storages.fill(file, PickleReader({}, limit=_LARGEST_PICKLE).load(file))
    return content


def _check_order(little: bool) -> None:
    if not little:
        raise RefusedPickleError("numbers of another byte order")


class _Storages:
    """The storages of a file, together no larger than the file, and the tensors that are views of them.

    Args:
        size: Bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._left = size
        self._left_to_share = _SHARED * size

    def tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
        """Returns a tensor as a view of a storage.

        Raises:
            RefusedPickleError: It reaches beyond its storage, or all tensors are together far larger than the file.
        """
        if not isinstance(storage, np.ndarray):
            raise RefusedPickleError("a tensor of something else than numbers")
        sizes, steps = checked_shape(shape), checked_shape(strides)
        if len(sizes) != len(steps) or not is_size(offset):
            raise RefusedPickleError(f"a tensor of the shape {shown(shape)} and the strides {shown(strides)}")
        last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
        count: int = prod(sizes)
        if count > storage.size or (count and last >= storage.size):
            raise RefusedPickleError(f"a tensor of the shape {shown(shape)} in a storage of {storage.size} numbers")
        self._left_to_share -= count * storage.itemsize
        if self._left_to_share < 0:
            raise RefusedPickleError("the same numbers in many tensors")
        strides = tuple(step * storage.itemsize for step in steps)
        return np.lib.stride_tricks.as_strided(storage[offset:], sizes, strides, writeable=False)

    def __call__(self, pid: Any) -> np.ndarray:
        """Returns the storage of a persistent id, or the part of it that the id describes.

        Raises:
            RefusedPickleError: It is not a storage of numbers.
        """
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise RefusedPickleError("an object kept outside of it")
        _, dtype, key, _, count, *view = pid
        if not isinstance(dtype, np.dtype) or not is_size(count):
            raise RefusedPickleError("an object kept outside of it")
        if not isinstance(key, str) or not key.isdecimal():
            raise RefusedPickleError(f"a storage named {shown(key)}")
        if key not in self.arrays:
            self._left -= count * dtype.itemsize
            if self._left < 0:
                raise RefusedError(f"it has no room for a storage of {count} numbers")
            self.arrays[key] = self.open(key, dtype, count)
        array = self.arrays[key]
        if (array.dtype, array.size) != (dtype, count):
            raise RefusedPickleError("a storage of two types or sizes")
        return array if view in ([], [None]) else _part(array, view[0])

    def open(self, key: str, dtype: np.dtype, count: int) -> np.ndarray:
        """Returns the array of a storage when it is met for the first time."""
        raise NotImplementedError


class _Members(_Storages):
    """Storages that are members of an archive; none may be compressed, so that a small file cannot become a large one.

    Args:
        archive: The archive.
        folder: The folder of all members.
        size: Bytes of the file.
    """

    def __init__(self, archive: zipfile.ZipFile, folder: str, size: int) -> None:
        super().__init__(size)
        self._archive = archive
        self._folder = folder

    def has(self, name: str) -> bool:
        """Returns whether there is such a member."""
        return f"{self._folder}/{name}" in self._archive.NameToInfo

    def read(self, name: str, most: int) -> bytes:
        """Reads a member of at most so many bytes."""
        path = f"{self._folder}/{name}"
        if self._archive.getinfo(path).compress_type != zipfile.ZIP_STORED:
            raise RefusedPickleError("members that are compressed")
        return read_member(self._archive, path, most)

    def open(self, key: str, dtype: np.dtype, count: int) -> np.ndarray:
        """Reads a storage."""
        raw = self.read(f"data/{key}", count * dtype.itemsize)
        if len(raw) != count * dtype.itemsize:
            raise RefusedPickleError(f"a storage of {count} numbers with {len(raw)} bytes")
        return np.frombuffer(raw, dtype)


class _Following(_Storages):
    """Storages that follow the content; their arrays are filled when the content has been read."""

    def open(self, key: str, dtype: np.dtype, count: int) -> np.ndarray:
        """Returns an array to fill."""
        return np.zeros(count, dtype)

    def fill(self, file: BinaryIO, keys: Any) -> None:
        """Reads all storages, each with its number of elements before it.

        Args:
            file: The stream, at the first storage.
            keys: The keys in the order of the storages.
        """
        known = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
        if not known or sorted(keys) != sorted(self.arrays):
            raise RefusedError("the list of its storages is another one than its content needs")
        for key in keys:
            array = self.arrays[key]
            if struct.unpack("<q", file.read(8)) != (array.size,):
                raise RefusedError("a storage has another size than its content says")
            if file.readinto(array.view(np.uint8)) != array.nbytes:  # type: ignore[attr-defined]
                raise RefusedError("it ends early")
            array.flags.writeable = False


def _reader(storages: _Storages) -> PickleReader:
    tensor = Call(storages.tensor)
    names = {("torch._utils", name): tensor for name in ("_rebuild_tensor", "_rebuild_tensor_v2")}
    return PickleReader(_NAMES | names, _LARGEST_PICKLE, storages)


def _part(storage: np.ndarray, view: Any) -> np.ndarray:
    """Returns a part of a storage: `(key, offset, size)`."""
    if not isinstance(view, tuple) or len(view) != 3 or not (is_size(view[1]) and is_size(view[2])):
        raise RefusedPickleError(f"a part {shown(view)} of a storage")
    _, offset, size = view
    if offset + size > storage.size:
        raise RefusedPickleError(f"a part {shown(view)} of a storage of {storage.size} numbers")
    return storage[offset : offset + size]


_NAMES: dict[tuple[str, str], Any] = {
    **SCALARS,
    ("collections", "OrderedDict"): Call(lambda: {}),
    ("torch", "Size"): Call(checked_shape),
    ("torch._utils", "_rebuild_parameter"): Call(lambda tensor, *_: tensor),
    **{("torch", name): np.dtype(code) for name, code in _STORAGES.items()},
}
"""What stands for the names in PyTorch's files but tensors; the name of a class of storages is the type of numbers."""
