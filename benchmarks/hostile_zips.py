"""Changes and bombs of ZIP archives, whose members keep valid checksums."""

import functools
import io
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Bombs = Iterator[tuple[str, Callable[[], bytes]]]
_BLOCK = 1 << 24
_BLOCKS = 150
"""Blocks of zeros of a bomb: 2.5 GB, in 2.5 MB."""


def members(content: bytes) -> dict[str, bytes]:
    """Returns the members of an archive by name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def compression_of(content: bytes) -> int:
    """Returns how the first member of an archive is compressed."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return file.infolist()[0].compress_type


def archive(parts: Any, compression: int) -> bytes:
    """Returns an archive of members, given as names with contents; names may stand twice."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as made:
        warnings.simplefilter("ignore")
        for name, content in parts.items() if isinstance(parts, dict) else parts:
            made.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def changed(
    content: bytes, rng: random.Random, change: Callable[[str, bytes, random.Random], tuple[str, bytes]]
) -> tuple[str, bytes]:
    """Returns an archive with one member changed."""
    parts = members(content)
    name = rng.choice(sorted(parts))
    if rng.random() < 0.1:
        other = rng.choice(sorted(parts))
        return f"{name} is {other}", archive(parts | {name: parts[other]}, compression_of(content))
    words, parts[name] = change(name, parts[name], rng)
    return f"{name}: {words}", archive(parts, compression_of(content))


@functools.cache
def _zeros(head: bytes) -> tuple[bytes, int, int]:
    """Returns a raw deflate stream of bytes and gigabytes of zeros, its checksum, and its length."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    total = zlib.crc32(head)
    for _ in range(_BLOCKS):
        total = zlib.crc32(bytes(_BLOCK), total)
    return stream + block * _BLOCKS + packer.flush(), total, len(head) + _BLOCK * _BLOCKS


def zlib_zeros() -> bytes:
    """Returns a zlib stream of gigabytes of zeros; its checksum is wrong, which shows at its end only."""
    return b"\x78\x9c" + _zeros(b"")[0] + b"\0\0\0\0"


def _record(
    name: bytes, data: bytes, crc: int, size: int, *, method: int = 8, flags: int = 0, packed: int = -1
) -> tuple[bytes, bytes]:
    """Returns the local and the central part of a member."""
    packed = len(data) if packed < 0 else packed
    common = struct.pack(
        "<HHHHHIIIHH", 20, flags, method, 0, 33, crc, packed & 0xFFFFFFFF, size & 0xFFFFFFFF, len(name), 0
    )
    return b"PK\x03\x04" + common + name + data, b"PK\x01\x02\x14\0" + common + bytes(10)


def _raw(*records: tuple[bytes, bytes, bytes]) -> bytes:
    """Returns an archive of local parts, central parts and names."""
    body, directory = b"", b""
    for local, central, name in records:
        directory += central + struct.pack("<I", len(body)) + name
        body += local
    end = struct.pack("<HHHHIIH", 0, 0, len(records), len(records), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def _with_bomb(parts: dict[str, bytes], target: str) -> bytes:
    """Returns the archive with gigabytes of zeros in a member; an `.npy` member says that they are an array."""
    head = b""
    if target.endswith(".npy"):
        buffer = io.BytesIO()
        fields = {"descr": "<f4", "fortran_order": False, "shape": (_BLOCKS * _BLOCK // 4,)}
        np.lib.format.write_array_header_1_0(buffer, fields)
        head = buffer.getvalue()
    records = []
    for name, content in parts.items():
        raw = name.encode()
        data, crc, size = _zeros(head) if name == target else (content, zlib.crc32(content), len(content))
        local, central = _record(raw, data, crc, size, method=8 if name == target else 0)
        records.append((local, central, raw))
    return _raw(*records)


def _odd(parts: dict[str, bytes], target: str, **changes: Any) -> bytes:
    """Returns the archive with other values in the directory for one member."""
    records = []
    for name, content in parts.items():
        raw = name.encode()
        own: dict[str, Any] = {"data": content, "crc": zlib.crc32(content), "size": len(content), "method": 0}
        if name == target:
            own |= changes
            raw = changes.get("name", raw)
        own.pop("name", None)
        local, central = _record(raw, own.pop("data"), own.pop("crc"), own.pop("size"), **own)
        records.append((local, central, raw))
    return _raw(*records)


def bombs(content: bytes, inner: Callable[[str, bytes], Bombs]) -> Bombs:
    """Yields archives with bombs in them, and archives that are bombs themselves."""
    parts, kept = members(content), compression_of(content)
    for name, part in parts.items():
        for change, make in inner(name, part):
            yield f"{name}: {change}", lambda name=name, make=make: archive(parts | {name: make()}, kept)
        yield f"{name} is gigabytes of zeros", lambda name=name: _with_bomb(parts, name)
        yield f"without {name}", lambda name=name: archive({each: parts[each] for each in parts if each != name}, kept)
        yield f"{name} twice", lambda name=name: archive([*parts.items(), (name, b"other")], kept)
        yield (
            f"{name} renamed",
            lambda name=name: archive({f"{each}x" if each == name else each: parts[each] for each in parts}, kept),
        )
    first = next(iter(parts))
    for method in (9, 12, 14, 93, 99, 65_535):
        yield f"compressed by method {method}", lambda method=method: _odd(parts, first, method=method)
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield f"all compressed by {compression}", lambda compression=compression: archive(parts, compression)
    for flags in (1, 0x41, 8, 0x20, 0x2000, 0x800):
        yield f"flags {flags}", lambda flags=flags: _odd(parts, first, flags=flags)
    for size in (0, 1, 1 << 30, 0xFFFFFFFF):
        yield f"a size of {size}", lambda size=size: _odd(parts, first, size=size)
        yield f"a packed size of {size}", lambda size=size: _odd(parts, first, packed=size)
    yield "another checksum", lambda: _odd(parts, first, crc=1)
    for name in ("../../outside", "/tmp/outside", "a" * 60_000, "a\0b", "\x1b[31m", "a/", "", "a/" * 20_000, "C:\\x"):
        yield f"a member {name[:20]!r} more", lambda name=name: archive([*parts.items(), (name or " ", b"x")], kept)
    yield "names of other characters", lambda: _odd(parts, first, name=b"\xff\xfe\0")
    yield (
        "20,000 members more",
        lambda: archive([*parts.items(), *((f"m{number}.npy", b"") for number in range(20_000))], kept),
    )
    yield "20,000 times a member", lambda: archive([*parts.items()] + [(first, b"")] * 20_000, kept)
    yield "a comment", lambda: content[:-2] + struct.pack("<H", 60_000) + b"PK\x05\x06" * 15_000
    yield "bytes before it", lambda: b"x" * 1000 + content
    yield "bytes behind it", lambda: content + b"x" * 1000
    yield "only its end", lambda: content[-22:]
    yield "no member", lambda: archive({}, kept)
    yield "one large stored member more", lambda: archive(parts | {"more": bytes(1 << 22)}, zipfile.ZIP_STORED)
    yield "an archive in an archive", lambda: archive({first: content}, kept)
    whole = len(content)
    for offset in (0, 1 << 31, 0xFFFFFFFF, whole):
        yield f"a directory at {offset}", lambda offset=offset: content[:-6] + struct.pack("<I", offset) + content[-2:]
    for count in (0, 1, 65_535):
        yield (
            f"{count} members in the directory",
            lambda count=count: content[:-14] + struct.pack("<HH", count, count) + content[-10:],
        )
