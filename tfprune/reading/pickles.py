"""Safe reading of pickled arrays, such as the weights of the EKG authors.

`PickleReader` reads them; what NumPy's pickles name is replaced by stand-ins, which check what they receive.
`torch_file` does the same for PyTorch.
"""

import os
import re
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.reading.content import RefusedError, open_file, reading, shown
from tfprune.reading.pickle_reader import (
    Call,
    PickleReader,
    RefusedPickleError,
    Stateful,
    checked_shape,
)

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
    with reading(path, "a pickled dictionary of arrays", advice="download it again"), open_file(path) as file:
        content = PickleReader(ARRAYS, limit=os.fstat(file.fileno()).st_size).load(file)
        if not isinstance(content, dict):
            raise RefusedError(f"it contains a {type(content).__name__}")
        arrays: dict[str, np.ndarray] = {}
        for name, array in content.items():
            if not isinstance(name, str):
                raise RefusedError(f"it has the key {shown(name)}")
            if name.startswith("__"):
                continue
            if not isinstance(array, PickledArray) or array.value is None:
                raise RefusedError(f"it has something else than numbers under {shown(name)}")
            arrays[name] = array.value
        return arrays


class _DType(Stateful):
    """Replaces `numpy.dtype`."""

    def __init__(self, code: str, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise RefusedPickleError(f"an array of type {shown(code)}, where arrays of numbers were expected")
        self.numpy = np.dtype(code)

    def set_state(self, state: Any) -> None:
        """Sets the byte order."""
        order, *rest = state[1:5]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in rest):
            raise RefusedPickleError("an array of a structured type, where arrays of numbers were expected")
        self.numpy = self.numpy.newbyteorder(order)


class PickledArray(Stateful):
    """Replaces `numpy.ndarray`: collects the data of one array."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        """Sets the array from its shape, type, order and bytes."""
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
        sizes = checked_shape(shape)
        if prod(sizes) * dtype.numpy.itemsize != len(raw):
            raise RefusedPickleError(f"an array of the shape {shown(shape)} with {len(raw)} bytes")
        self.value = np.frombuffer(raw, dtype.numpy).reshape(sizes, order="F" if order == "F" else "C")


def _from_buffer(raw: object, dtype: object, shape: object, order: str) -> PickledArray:
    """Replaces `_frombuffer`, which pickle protocol 5 names."""
    array = PickledArray()
    array.fill(raw, dtype, shape, order)
    return array


def _scalar(dtype: object, raw: object) -> Any:
    """Replaces `scalar`: returns a number."""
    array = PickledArray()
    array.fill(raw, dtype, (), "C")
    assert array.value is not None, "it was filled"
    return array.value.item()


SCALARS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): Call(_DType),
    **{(f"numpy.{core}.multiarray", "scalar"): Call(_scalar) for core in ("core", "_core")},
}
"""What stands for the names in NumPy's pickles of numbers."""
ARRAYS: dict[tuple[str, str], Any] = {
    **SCALARS,
    ("numpy", "ndarray"): PickledArray,  # only an argument of _reconstruct
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Call(lambda *_: PickledArray()) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): Call(_from_buffer) for core in ("core", "_core")},
}
"""What stands for the names in NumPy's pickles of arrays and numbers."""
