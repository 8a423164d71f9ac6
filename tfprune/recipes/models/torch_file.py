"""Safe reading of files of `torch.save`, without PyTorch and without running any code of the file.

Such a file is a zip archive of a pickle and one member per storage. The pickle is read as in `pickles`: names that
PyTorch's files contain are replaced by stand-ins that check what they receive, all others are refused.
"""

import pickle
import zipfile
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import CheckpointError
from tfprune.recipes.models.pickles import RefusedPickleError, StandIn, refused_name

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
_SCALARS = {f"{kind}{size}": f"<{kind}{size}" for kind in "fiu" for size in (1, 2, 4, 8) if f"{kind}{size}" != "f1"}


def read_torch_file(path: Path) -> Any:
    """Reads a file of `torch.save`: containers, numbers and text, with NumPy arrays for tensors.

    Args:
        path: The file, in the zip format of PyTorch since version 1.6.

    Returns:
        The content, usually a dictionary.

    Raises:
        CheckpointError: The file is missing, damaged, in the older format, or contains anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(archive).load()
    except RefusedPickleError as error:
        raise CheckpointError(
            f"refused: the file asks for {error}; nothing in {path} was run; expected tensors, numbers and text"
        ) from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except Exception as error:  # a damaged file can fail in any way
        raise CheckpointError(
            f"{path} is damaged or not a file of torch.save in its zip format ({type(error).__name__}: "
            f"{str(error)[:80]}); save it again with PyTorch 1.6 or later"
        ) from error


class _Dictionary(dict):
    """Replaces `OrderedDict`; attributes that PyTorch adds to it are ignored."""

    def __setstate__(self, state: object) -> None:
        """Ignores the attributes."""


class _Storage(StandIn):
    """Replaces a storage class, whose name gives the type of its numbers."""

    def __init__(self, code: str) -> None:
        self.dtype = np.dtype(code)


class _Function(StandIn):
    """Replaces a function that the file may call."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    """Returns a tensor as a copy of a part of a storage."""
    if not isinstance(storage, np.ndarray) or not all(isinstance(each, tuple) for each in (shape, strides)):
        raise RefusedPickleError("a tensor of something else than numbers")
    sizes = (offset, *shape, *strides)
    if not all(isinstance(size, int) and size >= 0 for size in sizes) or len(shape) != len(strides):
        raise RefusedPickleError(f"a tensor of the shape {shape!r:.40}")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if prod(shape) > storage.size or (prod(shape) and last >= storage.size):
        raise RefusedPickleError(f"a tensor of the shape {shape!r:.40} in a storage of {storage.size} numbers")
    steps = tuple(stride * storage.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False).copy()


def _scalar(dtype: Any, raw: Any) -> float:
    """Returns a number that NumPy pickled."""
    if not isinstance(dtype, _DType) or not isinstance(raw, bytes) or len(raw) != np.dtype(dtype.code).itemsize:
        raise RefusedPickleError("something else than a number")
    return np.frombuffer(raw, dtype.code)[0].item()


class _DType:
    """Replaces `numpy.dtype` of a number."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        if code not in _SCALARS:
            raise RefusedPickleError(f"a number of the type {code!r:.40}")
        self.code = _SCALARS[code]

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "=", "|"):
            raise RefusedPickleError("a number of another byte order")


def _bytes(text: Any, encoding: Any) -> bytes:
    """Returns the bytes of a text, as which pickle protocol 2 stores them."""
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedPickleError(f"the encoding {encoding!r:.40}")
    return text.encode("latin1")


_FUNCTIONS = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("_codecs", "encode"): _bytes,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


class _Reader(pickle.Unpickler):
    """Reads the pickle of an archive, and storages from other members."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        names = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(names) != 1:
            raise RefusedPickleError("an archive without one data.pkl")
        self._folder = names[0].partition("/")[0]
        if f"{self._folder}/byteorder" in archive.namelist() and self._read("byteorder") != b"little":
            raise RefusedPickleError("numbers of another byte order")
        super().__init__(BytesIO(self._read("data.pkl")))
        self._storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in of a name.

        Raises:
            RefusedPickleError: The name is not allowed.
        """
        if (module, name) == ("collections", "OrderedDict"):
            return _Dictionary
        if (module, name) == ("numpy", "dtype"):
            return _DType
        if module == "torch" and name in _STORAGES:
            return _Storage(_STORAGES[name])
        if (module, name) not in _FUNCTIONS:
            raise refused_name(module, name)
        return _Function(_FUNCTIONS[module, name])

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Reads a storage from its member.

        Raises:
            RefusedPickleError: It is not a storage of numbers.
        """
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage" or not isinstance(pid[1], _Storage):
            raise RefusedPickleError("an object kept outside of it")
        _, storage, key, _, count = pid
        if not isinstance(key, str) or not key.isdecimal() or not isinstance(count, int):
            raise RefusedPickleError(f"a storage named {key!r:.40}")
        if key not in self._storages:
            raw = self._read(f"data/{key}")
            if len(raw) != count * storage.dtype.itemsize:
                raise RefusedPickleError(f"a storage of {count} numbers with {len(raw)} bytes")
            self._storages[key] = np.frombuffer(raw, storage.dtype)
        return self._storages[key]

    def _read(self, name: str) -> bytes:
        """Reads a member, which must not be compressed, so that a small file cannot become a large one."""
        info = self._archive.getinfo(f"{self._folder}/{name}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise RefusedPickleError("members that are compressed")
        return self._archive.read(info)
