"""Files of `torch.save`, written byte by byte, without PyTorch and without Python's pickler.

content = {"arch": "Conv4", "state_dict": {"conv.weight": Tensor(array)}}
archive(path, content)          # as PyTorch writes it since 1.6
sequence(path, content)         # as it did before
sequence(path, {"a": Called(Named("os", "system"), ("true",))})
"""

import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
MACHINE = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
_STORAGES = {
    "<f4": "FloatStorage",
    "<f8": "DoubleStorage",
    "<f2": "HalfStorage",
    "<i8": "LongStorage",
    "<i4": "IntStorage",
    "|u1": "ByteStorage",
    "|b1": "BoolStorage",
}


@dataclass(frozen=True)
class Named:
    """A function or class, by name."""

    module: str
    name: str


@dataclass(frozen=True)
class Called:
    """What a function returns."""

    function: Any
    arguments: Any


@dataclass(frozen=True)
class WithState:
    """An object whose state is set."""

    value: Any
    state: Any


@dataclass(frozen=True)
class Kept:
    """An object outside of the pickle."""

    pid: Any


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor: a view of an array's memory, whose whole base is the storage; `part`, if given, is a part of it."""

    array: np.ndarray
    part: tuple[str, int, int] | None = None


def pickled(value: Any) -> bytes:
    """The pickle of a value, in protocol 2."""
    return b"\x80\x02" + _written(value, {}, legacy=False) + b"."


def archive(path: Path | str, content: Any, *, compression: int = zipfile.ZIP_STORED, **members: bytes) -> None:
    """Writes a file as PyTorch does since 1.6; `members` are added or replaced."""
    storages: dict[str, np.ndarray] = {}
    written = {"data.pkl": b"\x80\x02" + _written(content, storages, legacy=False) + b".", "byteorder": b"little"}
    written |= {f"data/{key}": array.tobytes() for key, array in storages.items()} | members
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, raw in written.items():
            file.writestr(f"best/{name}", raw)


def sequence(path: Path | str, content: Any, machine: Mapping = MACHINE, keys: Any = None, size: int = 0) -> None:
    """Writes a file as PyTorch did before 1.6; `keys` replaces its list of storages, `size` is added to their sizes."""
    storages: dict[str, np.ndarray] = {}
    body = b"\x80\x02" + _written(content, storages, legacy=True) + b"."
    parts = [
        pickled(MAGIC),
        pickled(VERSION),
        pickled(dict(machine)),
        body,
        pickled(sorted(storages) if keys is None else keys),
    ]
    for key in sorted(storages):
        parts += [struct.pack("<q", storages[key].size + size), storages[key].tobytes()]
    Path(path).write_bytes(b"".join(parts))


def _written(value: Any, storages: dict[str, np.ndarray], *, legacy: bool) -> bytes:
    """The instructions that make a value; its storages are added to `storages`."""

    def many(*values: Any) -> bytes:
        return b"".join(_written(each, storages, legacy=legacy) for each in values)

    match value:
        case None | True | False:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(raw)]) + raw
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + many(*value) + b"t"
        case list():
            return b"](" + many(*value) + b"e"
        case dict():
            return b"}(" + b"".join(many(*item) for item in value.items()) + b"u"
        case Named():
            return f"c{value.module}\n{value.name}\n".encode()
        case Called():
            return many(value.function, value.arguments) + b"R"
        case WithState():
            return many(value.value, value.state) + b"b"
        case Kept():
            return many(value.pid) + b"Q"
        case Tensor():
            return many(_rebuilt(value, storages, legacy=legacy))
    raise TypeError(f"no instructions for {value!r}")


def _rebuilt(tensor: Tensor, storages: dict[str, np.ndarray], *, legacy: bool) -> Called:
    array = tensor.array
    whole = array if array.base is None else array.base
    key = next((key for key, known in storages.items() if known is whole), str(7000 + len(storages)))
    storages[key] = whole
    offset = (array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) // array.itemsize
    view = (tensor.part,) if legacy else ()
    start = tensor.part[1] if tensor.part else 0
    pid = ("storage", Named("torch", _STORAGES[array.dtype.str]), key, "cuda:0", whole.size, *view)
    strides = tuple(step // array.itemsize for step in array.strides)
    hooks = Called(Named("collections", "OrderedDict"), ())
    arguments = (Kept(pid), offset - start, array.shape, strides, False, hooks)
    return Called(Named("torch._utils", "_rebuild_tensor_v2"), arguments)
