"""Arrays of `.npz` files, each checked by its header before it is read."""

import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import IO

import numpy as np

from tfprune.reading.archives import budget, open_archive
from tfprune.reading.content import RefusedError, shown
from tfprune.reading.weights import check_weights

_SUFFIX = ".npy"
_KINDS = {"values": "biuf", "numbers": "iuf", "whole numbers": "iu", "flags": "b", "text": "U"}
_LARGEST_ITEM = 8  # bytes of a number
_TEXTS = 1 << 16
_LAST_LETTER, _HALVES = 0x10FFFF, (0xD800, 0xDFFF)  # of Unicode; halves of pairs are no letters
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class Expected:
    """What an array of a file must be.

    Attributes:
        kind: `numbers`, `whole numbers`, `flags` (yes or no), `values` (any of these), or `text`; several are separated
            by ` or `.
        axes: Its axes, separated by spaces, such as `hidden inputs`: those of one name have one length in all arrays of
            the file, at least 1. `...` stands for any axes. Default: none, a single value.
        finite: Whether numbers must be finite and within the range of float32, as `check_weights` says.
        least: The smallest number that is allowed.
        choices: The texts that are allowed; any, if there are none.
        optional: Whether the array may be missing.
    """

    kind: str = "numbers"
    axes: str = ""
    finite: bool = True
    least: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False


class ArrayFile:
    """An opened `.npz` file.

    Attributes:
        names: Names of its arrays.
        budget: How many bytes may be made of it, for its size.
    """

    def __init__(self, archive: zipfile.ZipFile, lengths: Mapping[str, int]) -> None:
        self._archive = archive
        self._lengths = dict(lengths)
        self.budget = budget(os.fstat(archive.fp.fileno()).st_size) if archive.fp else 0
        self.names = tuple(name.removesuffix(_SUFFIX) for name in archive.NameToInfo if name.endswith(_SUFFIX))

    def read(self, expected: Mapping[str, Expected]) -> dict[str, np.ndarray]:
        """Reads arrays.

        Args:
            expected: What each array must be, by name. Others in the file are not read.

        Returns:
            The arrays by name, in the byte order of this machine; without optional ones that are missing.

        Raises:
            RefusedError: An array is missing, or is something else than was expected; the message names it.
            Exception: The file is damaged; of any type.
        """
        arrays = {}
        for name, array in expected.items():
            if name in self.names:
                arrays[name] = self._array(name, array)
            elif not array.optional:
                raise RefusedError(f"it has no array {shown(name)}")
        return arrays

    def _array(self, name: str, expected: Expected) -> np.ndarray:
        """Reads an array if its header is as expected."""
        member = self._archive.getinfo(name + _SUFFIX)
        with self._archive.open(member) as file:
            shape, dtype = _header(file)
            self._check(name, shape, dtype, expected)
            if file.tell() + prod(shape) * dtype.itemsize != member.file_size:
                raise RefusedError(f"its array {shown(name)} is longer or shorter than its shape {shown(shape)} says")
        with self._archive.open(member) as file, warnings.catch_warnings(action="ignore"):
            array = np.lib.format.read_array(file, allow_pickle=False)
        array = array.astype(dtype.newbyteorder("="), copy=False)
        _check_values(name, array, expected)
        return array

    def _check(self, name: str, shape: tuple[int, ...], dtype: np.dtype, expected: Expected) -> None:
        """Raises RefusedError unless shape and type are the expected ones."""
        kinds = "".join(_KINDS[kind] for kind in expected.kind.split(" or "))
        if dtype.kind not in kinds or (dtype.kind != "U" and dtype.itemsize > _LARGEST_ITEM):
            raise RefusedError(f"its array {shown(name)} has the type {dtype.name:.40}, expected {expected.kind}")
        if dtype.kind == "U" and prod(shape) > _TEXTS:
            raise RefusedError(f"its array {shown(name)} has more than {_TEXTS:,} texts")
        if expected.axes == "...":
            return
        axes = expected.axes.split()
        if len(axes) != len(shape) or any(
            self._lengths.setdefault(axis, size) != size for axis, size in zip(axes, shape, strict=True)
        ):
            lengths = (f"{axis} = {self._lengths[axis]}" if axis in self._lengths else axis for axis in axes)
            raise RefusedError(
                f"its array {shown(name)} has the shape {shown(list(shape))}, expected [{', '.join(lengths)}]"
            )
        if 0 in shape:
            raise RefusedError(f"its array {shown(name)} is empty")


@contextmanager
def open_arrays(path: str | os.PathLike[str], lengths: Mapping[str, int] | None = None) -> Iterator[ArrayFile]:
    """Opens an `.npz` file; to be used within `reading`. Nothing in it is executed.

    Args:
        path: The file.
        lengths: Lengths of axes that are known before, by name, see `Expected.axes`.

    Yields:
        The file, which reads the arrays that it is asked for.

    Raises:
        Exception: It is missing, no such file, damaged, or would become too large; of any type.
    """
    with open_archive(path) as archive:
        yield ArrayFile(archive, lengths or {})


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Returns the shape and the type that the beginning of a `.npy` file says."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise RefusedError("it has arrays of another version of NumPy's format")
    with warnings.catch_warnings(action="ignore"):  # about escapes in the header of a damaged file
        shape, _, dtype = _HEADERS[version](file)
    if any(size < 0 for size in shape):
        raise RefusedError(f"it has an array of the shape {shown(shape)}")
    return shape, dtype


def _check_values(name: str, array: np.ndarray, expected: Expected) -> None:
    """Raises RefusedError unless all values are as expected."""
    if array.dtype.kind == "U":
        letters = np.frombuffer(array.tobytes(), np.uint32)
        if (letters > _LAST_LETTER).any() or ((letters >= _HALVES[0]) & (letters <= _HALVES[1])).any():
            raise RefusedError(f"its array {shown(name)} has text of no letters")
        if expected.choices and not np.isin(array, expected.choices).all():
            raise RefusedError(
                f"its array {shown(name)} is {shown(array.tolist())}, expected {', '.join(expected.choices)}"
            )
        return
    if expected.finite:
        check_weights({name: array})
    if expected.least is not None and not (array >= expected.least).all():
        raise RefusedError(f"its array {shown(name)} has numbers below {expected.least}")
