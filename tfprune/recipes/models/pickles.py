"""Safe reading of pickled arrays, such as the weights of the EKG authors.

A pickle can run any code when it is loaded. `RestrictedUnpickler` instead replaces everything that NumPy's pickles name
by stand-ins, which check what they receive, and refuses all other names. `torch_file` does the same for PyTorch.
"""

import pickle
import re
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import CheckpointError

_DTYPE = re.compile(r"[<>|=]?([biuf])([1248])")


def read_pickled_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads a pickled dictionary of arrays, without running any code of the file.

    Names like `__header__`, which a conversion from MATLAB left in the file of the authors, are ignored.

    Args:
        path: The file.

    Returns:
        The arrays by their names in the file.

    Raises:
        CheckpointError: The file is damaged, contains something else than arrays, or is not a dictionary of arrays.
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
            f"{path} is damaged or not a pickle ({type(error).__name__}); expected a pickled dictionary of arrays; "
            "download the file again"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"expected a pickled dictionary of arrays, {path} contains a {type(content).__name__}")
    arrays: dict[str, np.ndarray] = {}
    for name, array in content.items():
        if not isinstance(name, str):
            raise CheckpointError(f"expected arrays by name, {path} has the key {name!r:.40}")
        if name.startswith("__"):
            continue
        if not isinstance(array, PickledArray) or array.value is None:
            raise CheckpointError(f"expected an array of numbers under {name!r:.60}, {path} has something else")
        arrays[name] = array.value
    return arrays


class RefusedPickleError(pickle.UnpicklingError):
    """A pickle names something else than arrays of numbers."""


class StandIn:
    """Replaces what a file may name; a file cannot set its state."""

    def __setstate__(self, state: Any) -> None:
        raise RefusedPickleError("a change of the reader itself")


def refused_name(module: str, name: str) -> RefusedPickleError:
    """Returns the error for a name that is not allowed; its text is printable, whatever the name is."""
    return RefusedPickleError(f"{module}.{name}"[:80].encode("unicode_escape").decode("ascii"))


class _DType:
    """Replaces `numpy.dtype`."""

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
    """Replaces `numpy.ndarray`: collects the data of one array."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, fortran, raw = state[-4:]
        self.fill(raw, dtype, shape, "F" if fortran else "C")

    def fill(self, raw: object, dtype: object, shape: object, order: str) -> None:
        """Sets the array from its bytes, after checking that their number fits type and shape.

        Args:
            raw: The bytes.
            dtype: Stand-in of the type.
            shape: Tuple of sizes.
            order: `F` for column-major order.

        Raises:
            RefusedPickleError: It is not an array of numbers.
        """
        if not isinstance(dtype, _DType) or not isinstance(raw, bytes | bytearray):
            raise RefusedPickleError("an array of Python objects, where arrays of numbers were expected")
        sizes = tuple(shape) if isinstance(shape, tuple) else ()
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise RefusedPickleError(f"an array of the shape {shape!r:.40}")
        if prod(sizes) * dtype.numpy.itemsize != len(raw):
            raise RefusedPickleError(f"an array of the shape {shape!r:.40} with {len(raw)} bytes")
        self.value = np.frombuffer(raw, dtype.numpy).reshape(sizes, order="F" if order == "F" else "C")


class _Reconstruct(StandIn):
    """Replaces `numpy.core.multiarray._reconstruct`."""

    def __new__(cls, subtype: object, shape: object, code: object) -> PickledArray:  # type: ignore[misc]
        return PickledArray()


class _FromBuffer(StandIn):
    """Replaces `numpy.core.numeric._frombuffer` (pickle protocol 5)."""

    def __new__(cls, raw: object, dtype: object, shape: object, order: str) -> PickledArray:  # type: ignore[misc]
        array = PickledArray()
        array.fill(raw, dtype, shape, order)
        return array


class _Encode(StandIn):
    """Replaces `_codecs.encode`, by which pickle protocols 0 to 2 write bytes."""

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
    """Loads containers, text, numbers and arrays as `PickledArray`; refuses everything else."""

    def find_class(self, module: str, name: str) -> type:
        """Returns the stand-in of a name.

        Raises:
            RefusedPickleError: The name is not allowed.
        """
        if (module, name) not in _ALLOWED:
            raise refused_name(module, name)
        return _ALLOWED[module, name]

    def persistent_load(self, pid: object) -> object:
        """Refuses objects outside of the file.

        Raises:
            RefusedPickleError: Always.
        """
        raise RefusedPickleError("an object kept outside of it")
