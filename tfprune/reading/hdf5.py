"""The arrays of an HDF5 file as Keras and h5py write them, read in Python alone.

The HDF5 library follows links to other files, fills memory for values that are not stored, and is C code that was not
made for files of strangers. This reader knows groups with symbol tables, and arrays of numbers that are stored as they
are. It refuses everything else: compression, links, other files, other types.

The layout is described in "HDF5 File Format Specification Version 3.0", https://support.hdfgroup.org/documentation.
"""

import math
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

import ml_dtypes
import numpy as np

from tfprune.reading.content import RefusedError, shown

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NOWHERE = (1 << 64) - 1
_DEEPEST = 64  # groups within groups

_SUPERBLOCK = Struct("<8s5B2B9xQ24x8xQ16x")
_HEADER = Struct("<B1xH4xI4x")
_MESSAGE = Struct("<HHB3x")
_PAIR = Struct("<QQ")
_HEAP = Struct("<4s4xQQQ")
_NODE = Struct("<4sBBH16x")
_SYMBOLS = Struct("<4s2xH")
_SYMBOL = Struct("<QQI20x")

_SPACE, _TYPE, _EXTERNAL, _LAYOUT, _FILTERS, _MORE, _TABLE = 0x01, 0x03, 0x07, 0x08, 0x0B, 0x10, 0x11
_REFUSED = {_EXTERNAL: "its values are in another file", _FILTERS: "it is compressed"}
_SHARED = 2

_FIXED, _FLOAT, _OPAQUE, _ENUM = 0, 1, 5, 8
_EXPONENT_BITS = {2: 5, 4: 8, 8: 11}  # by the bytes of a floating-point number
_COMPACT, _CONTIGUOUS = 0, 1


class _Entry(NamedTuple):
    """Where an object of the file is: its name, with the groups that it is in, and the address of its header."""

    name: str
    address: int
    depth: int


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """Returns all arrays of an HDF5 file, as views of its bytes.

    Args:
        content: The file.

    Returns:
        The arrays by name, such as `layers/dense/vars/0`. Together they have at most as many bytes as the file.

    Raises:
        RefusedError: It is damaged, or has something else than groups and arrays of numbers.
    """
    return _File(content).arrays()


class _File:
    """An HDF5 file in memory; everything that is read is within it, and nothing is visited twice."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._visited: set[int] = set()
        self._left = len(content)  # bytes of arrays

    def arrays(self) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        pending = [_Entry("", self._root(), 0)]
        while pending:
            entry = pending.pop()
            messages = list(self._messages(entry.address))
            tables = [data for kind, data in messages if kind == _TABLE]
            if not tables:
                arrays[entry.name] = self._array(entry.name, dict(messages))
                continue
            if entry.depth == _DEEPEST:
                raise RefusedError(f"its groups are nested more than {_DEEPEST} deep")
            names: set[str] = set()
            for name, address in self._members(*_PAIR.unpack(_start(tables[0], _PAIR.size))):
                if name in names:
                    raise RefusedError(f"its group {shown(entry.name)} has two members {shown(name)}")
                names.add(name)
                pending.append(_Entry(f"{entry.name}/{name}".lstrip("/"), address, entry.depth + 1))
        return arrays

    def _root(self) -> int:
        """Returns the address of the header of the root group."""
        signature, version, *_, offset_size, length_size, base, header = _SUPERBLOCK.unpack(
            self._bytes(0, _SUPERBLOCK.size)
        )
        if signature != _SIGNATURE:
            raise RefusedError("its weights are no HDF5 file")
        if version != 0 or (offset_size, length_size, base) != (8, 8, 0):
            raise RefusedError("its weights are in an HDF5 file of another version")
        return int(header)

    def _bytes(self, start: int, size: int) -> memoryview:
        if start + size > len(self._content):
            raise RefusedError("its weights are damaged: an address is outside the file")
        return self._content[start : start + size]

    def _visit(self, address: int) -> None:
        if address in self._visited:
            raise RefusedError("its weights are damaged: a part is used twice")
        self._visited.add(address)

    def _block(self, layout: Struct, address: int, signature: bytes) -> tuple[int, ...]:
        """Returns the fields of a block that is visited once, after its signature."""
        self._visit(address)
        found, *fields = layout.unpack(self._bytes(address, layout.size))
        if found != signature:
            raise RefusedError(f"its weights are damaged: no {signature.decode()} where one was expected")
        return tuple(fields)

    def _messages(self, address: int) -> Iterator[tuple[int, memoryview]]:
        """Yields the type and content of the messages in the header of an object."""
        self._visit(address)
        version, left, size = _HEADER.unpack(self._bytes(address, _HEADER.size))
        if version != 1:
            raise RefusedError("its weights are damaged, or in an HDF5 file of another version")
        blocks = [self._bytes(address + _HEADER.size, size)]
        while blocks and left:
            block = blocks.pop()
            while len(block) >= _MESSAGE.size and left:
                kind, size, flags = _MESSAGE.unpack(block[: _MESSAGE.size])
                data, block = block[_MESSAGE.size : _MESSAGE.size + size], block[_MESSAGE.size + size :]
                left -= 1
                if kind == _MORE:
                    start, size = _PAIR.unpack(_start(data, _PAIR.size))
                    self._visit(start)
                    blocks.append(self._bytes(start, size))
                elif flags & _SHARED and kind in (_SPACE, _TYPE, _LAYOUT):
                    raise RefusedError("its weights share a type, which Keras does not write")
                else:
                    yield kind, data

    def _members(self, tree: int, heap: int) -> Iterator[tuple[str, int]]:
        """Yields the names and addresses of what is in a group."""
        size, _, start = self._block(_HEAP, heap, b"HEAP")
        texts = bytes(self._bytes(start, size))
        nodes = [tree]
        while nodes:
            node = nodes.pop()
            kind, level, used = self._block(_NODE, node, b"TREE")
            if kind != 0:
                raise RefusedError("its weights are damaged: a group is no group")
            # Keys and addresses alternate.
            children = [
                _PAIR.unpack(self._bytes(node + _NODE.size + index * _PAIR.size, _PAIR.size))[1]
                for index in range(used)
            ]
            if level:
                nodes += children
                continue
            for child in children:
                (symbols,) = self._block(_SYMBOLS, child, b"SNOD")
                for index in range(symbols):
                    start = child + _SYMBOLS.size + index * _SYMBOL.size
                    offset, address, cache = _SYMBOL.unpack(self._bytes(start, _SYMBOL.size))
                    name = texts[offset : texts.find(b"\0", offset)].decode("utf-8", "replace")
                    if cache == 2 or not name or "/" in name:
                        raise RefusedError(f"its member {shown(name)} is a link")
                    yield name, address

    def _array(self, name: str, messages: dict[int, memoryview]) -> np.ndarray:
        for kind, reason in _REFUSED.items():
            if kind in messages:
                raise RefusedError(f"it has an array {shown(name)}: {reason}")
        try:
            shape, dtype = _shape(messages[_SPACE]), _dtype(messages[_TYPE])
            layout = messages[_LAYOUT]
        except (KeyError, IndexError) as error:
            raise RefusedError(f"it has no array {shown(name)} where one was expected") from error
        size = math.prod(shape) * dtype.itemsize
        self._left -= size
        if self._left < 0:
            raise RefusedError(f"its array {shown(name)} claims to be larger than the file")
        data = self._data(layout, size)
        if data is None:
            raise RefusedError(f"its array {shown(name)} is not stored as it is")
        return np.frombuffer(data, dtype).reshape(shape)

    def _data(self, layout: memoryview, size: int) -> memoryview | None:
        """Returns the bytes of an array; None if it is stored in pieces, or not all of it."""
        version, kind = _start(layout, 2)
        if version not in (3, 4):
            return None
        if kind == _COMPACT:
            stored = int.from_bytes(_start(layout[2:], 2), "little")
            return _start(layout[4:], size) if stored == size else None
        if kind != _CONTIGUOUS:
            return None
        address, stored = _PAIR.unpack(_start(layout[2:], _PAIR.size))
        if address == _NOWHERE:
            return self._bytes(0, 0) if size == 0 else None
        return self._bytes(address, size) if stored == size else None


def _start(data: memoryview, size: int) -> memoryview:
    """Returns the first bytes of a part."""
    if len(data) < size:
        raise RefusedError("its weights are damaged: a part ends early")
    return data[:size]


def _shape(space: memoryview) -> tuple[int, ...]:
    """Returns the shape that a dataspace message has."""
    version, rank, _, kind = _start(space, 4)
    if version not in (1, 2) or (version == 2 and kind == 2) or rank > 32:
        raise RefusedError("it has an array of an unknown shape")
    start = 8 if version == 1 else 4
    sizes = _start(space[start:], 8 * rank)
    return tuple(int.from_bytes(sizes[8 * axis : 8 * axis + 8], "little") for axis in range(rank))


def _dtype(message: memoryview) -> np.dtype:
    """Returns the type of numbers that a datatype message describes."""
    kind, bits, size = message[0] & 15, message[1], int.from_bytes(_start(message, 8)[4:8], "little")
    if kind == _FIXED and size in (1, 2, 4, 8):
        return np.dtype(f"{'>' if bits & 1 else '<'}{'i' if bits & 8 else 'u'}{size}")
    if kind == _FLOAT and _EXPONENT_BITS.get(size) == message[13]:
        return np.dtype(f"{'>' if bits & 1 else '<'}f{size}")
    if kind == _OPAQUE and size == 2:
        return np.dtype(ml_dtypes.bfloat16)  # Keras stores these as bytes
    if kind == _ENUM and size == 1:
        return np.dtype(bool)
    raise RefusedError("it has an array of something else than numbers")
