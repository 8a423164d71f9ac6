"""Reading files that `torch.save` wrote, without PyTorch and without running anything that they ask for."""

import pickle
import zipfile
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import CheckpointError
from tfprune.recipes.models.pickles import RefusedPickleError

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
    """What a file of `torch.save` holds: containers, numbers and text, with NumPy arrays for tensors.

    Args:
        path: The file, in the zip format that PyTorch has written since version 1.6.

    Returns:
        The content, usually a dictionary.

    Raises:
        CheckpointError: The file is missing, damaged, in the older format, or asks for anything else.
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
            f"{path} is damaged or no file of torch.save in its zip format ({type(error).__name__}: "
            f"{str(error)[:80]}); save it again with a PyTorch from 1.6 on"
        ) from error


class _Dictionary(dict):
    """Stands in for `OrderedDict`; attributes that PyTorch hangs onto it are left out."""

    def __setstate__(self, state: object) -> None:
        """Nothing."""


class _Storage:
    """Stands in for a storage class: its name says what numbers it holds."""

    def __init__(self, code: str) -> None:
        self.dtype = np.dtype(code)

    def __setstate__(self, state: object) -> None:
        raise RefusedPickleError("a change of the reader itself")


class _Function:
    """A function that the file may call; it has no state that a file could set."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: object) -> None:
        raise RefusedPickleError("a change of the reader itself")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    """A tensor that is a window into a storage."""
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
    """A number that NumPy pickled."""
    if not isinstance(dtype, _DType) or not isinstance(raw, bytes) or len(raw) != np.dtype(dtype.code).itemsize:
        raise RefusedPickleError("something else than a number")
    return np.frombuffer(raw, dtype.code)[0].item()


class _DType:
    """Stands in for `numpy.dtype` of a number."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        if code not in _SCALARS:
            raise RefusedPickleError(f"a number of the type {code!r:.40}")
        self.code = _SCALARS[code]

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "=", "|"):
            raise RefusedPickleError("a number of another byte order")


def _bytes(text: Any, encoding: Any) -> bytes:
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
    """Reads the pickle of an archive; tensors lie in members of their own."""

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
        """A stand-in for what PyTorch's files name.

        Raises:
            RefusedPickleError: The file asks for anything else.
        """
        if (module, name) == ("collections", "OrderedDict"):
            return _Dictionary
        if (module, name) == ("numpy", "dtype"):
            return _DType
        if module == "torch" and name in _STORAGES:
            return _Storage(_STORAGES[name])
        if (module, name) not in _FUNCTIONS:
            raise RefusedPickleError(f"{module}.{name}"[:80].encode("unicode_escape").decode("ascii"))
        return _Function(_FUNCTIONS[module, name])

    def persistent_load(self, pid: Any) -> np.ndarray:
        """A storage, from the member that holds it."""
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
        """A member, which must be stored as it is: a small file cannot become a large one."""
        info = self._archive.getinfo(f"{self._folder}/{name}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise RefusedPickleError("members that are compressed")
        return self._archive.read(info)
