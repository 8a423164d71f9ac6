"""Files of weights as EKG's authors write them: a pickled dictionary of arrays."""

import pickle
import re
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import CheckpointError

_DTYPE = re.compile(r"[<>|=]?([biuf])([1248])")


def read_pickled_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a pickle, by name; nothing that the file asks for is run.

    Names like `__header__`, which a conversion from MATLAB left in the authors' file, are ignored.

    Args:
        path: The file.

    Returns:
        Arrays by the names the file gives them.

    Raises:
        CheckpointError: The file is damaged, asks for something else than arrays, or is no dictionary of arrays.
    """
    try:
        with path.open("rb") as file:
            content = RestrictedUnpickler(file).load()
    except RefusedPickleError as error:
        raise CheckpointError(
            f"refused: the file asks for {error}; nothing in {path} was run; expected a pickled dictionary of arrays"
        ) from error
    except Exception as error:  # a damaged pickle can fail in any way: end of file, memo, index, memory, encoding
        raise CheckpointError(
            f"{path} is damaged or no pickle ({type(error).__name__}); expected a pickled dictionary of arrays; "
            "fetch the file again"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"expected a pickled dictionary of arrays, {path} holds a {type(content).__name__}")
    return {_name(key, path): _array(key, value, path) for key, value in content.items() if not _leftover(key)}


def _leftover(key: object) -> bool:
    return isinstance(key, str) and key.startswith("__")


def _name(key: object, path: Path) -> str:
    if not isinstance(key, str):
        raise CheckpointError(f"expected arrays by name, {path} has the key {key!r:.40}")
    return key


def _array(key: object, value: object, path: Path) -> np.ndarray:
    if not isinstance(value, PickledArray) or value.value is None:
        raise CheckpointError(f"expected an array of numbers under {key!r:.60}, {path} has something else")
    return value.value


class RefusedPickleError(pickle.UnpicklingError):
    """A pickle asks for something else than arrays of numbers."""


class _DType:
    """Stands in for `numpy.dtype`."""

    def __init__(self, code: str, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise RefusedPickleError(f"an array of type {code!r:.40}, where arrays of numbers were expected")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order, *rest = state[1:5]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in rest):
            raise RefusedPickleError("an array of a structured type, where arrays of numbers were expected")
        self.numpy = self.numpy.newbyteorder(order)


class PickledArray:
    """Stands in for `numpy.ndarray`: what the file says of one array."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, fortran, raw = state[-4:]
        self.fill(raw, dtype, shape, "F" if fortran else "C")

    def fill(self, raw: object, dtype: object, shape: object, order: str) -> None:
        """Takes the array's bytes, after checking that they are as many as type and shape say."""
        if not isinstance(dtype, _DType) or not isinstance(raw, bytes | bytearray):
            raise RefusedPickleError("an array of Python objects, where arrays of numbers were expected")
        sizes = tuple(shape) if isinstance(shape, tuple) else ()
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise RefusedPickleError(f"an array of the shape {shape!r:.40}")
        if prod(sizes) * dtype.numpy.itemsize != len(raw):
            raise RefusedPickleError(f"an array of the shape {shape!r:.40} with {len(raw)} bytes")
        self.value = np.frombuffer(raw, dtype.numpy).reshape(sizes, order="F" if order == "F" else "C")


class _Constructor:
    """A callable that the file may name; it has no state that a file could set."""

    def __setstate__(self, state: object) -> None:
        raise RefusedPickleError("a change of the reader itself")


class _Reconstruct(_Constructor):
    """Stands in for `numpy.core.multiarray._reconstruct`."""

    def __new__(cls, subtype: object, shape: object, code: object) -> PickledArray:  # type: ignore[misc]
        return PickledArray()


class _FromBuffer(_Constructor):
    """Stands in for `numpy.core.numeric._frombuffer` (pickle protocol 5)."""

    def __new__(cls, raw: object, dtype: object, shape: object, order: str) -> PickledArray:  # type: ignore[misc]
        array = PickledArray()
        array.fill(raw, dtype, shape, order)
        return array


class _Encode(_Constructor):
    """Stands in for `_codecs.encode`, by which pickle protocols 0 to 2 write bytes."""

    def __new__(cls, text: str, encoding: str) -> bytes:  # type: ignore[misc]
        if encoding != "latin1":
            raise RefusedPickleError(f"the encoding {encoding!r:.40}")
        return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _Encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _FromBuffer for core in ("core", "_core")},
}


class RestrictedUnpickler(pickle.Unpickler):
    """Loads containers, text, numbers and `PickledArray`; refuses everything else."""

    def find_class(self, module: str, name: str) -> type:
        """The stand-in for a constructor of arrays.

        Raises:
            RefusedPickleError: The file asks for anything else.
        """
        if (module, name) not in _ALLOWED:
            raise RefusedPickleError(f"{module}.{name}"[:80].encode("unicode_escape").decode("ascii"))
        return _ALLOWED[module, name]

    def persistent_load(self, pid: object) -> object:
        """Refuses objects kept outside of the file.

        Raises:
            RefusedPickleError: Always.
        """
        raise RefusedPickleError("an object kept outside of it")
