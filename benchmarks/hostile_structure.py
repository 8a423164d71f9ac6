"""What the bytes of a file mean, changed: by the kind of the file, which its name or its first bytes say."""

import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import hostile_arrays
import hostile_pickles
import hostile_texts
import hostile_zips

Bombs = Iterator[tuple[str, Callable[[], bytes]]]
_PACKED = b"tfprune packed 1\n"


def kind(name: str, content: bytes) -> str:
    """Returns the kind of a file."""
    suffix = name.rpartition(".")[2].lower()
    if content.startswith(b"PK\x03\x04"):
        return "zip"
    if content.startswith(b"\x89HDF"):
        return "hdf5"
    if content.startswith(b"\x93NUMPY"):
        return "npy"
    if content.startswith(_PACKED):
        return "packed"
    return {"jpeg": "image", "png": "image", "pth": "pkl", "yml": "yaml"}.get(suffix, suffix)


def changed_structure(name: str, content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Returns a file with one part of its meaning changed, and how; other bytes where nothing is known of it."""
    if not content:
        return "a line", b"\0\n"
    match kind(name, content):
        case "json":
            return hostile_texts.changed_json(content, rng)
        case "jsonl":
            return _changed_line(content, rng)
        case "yaml":
            return hostile_texts.changed_yaml(content, rng)
        case "pkl":
            return hostile_pickles.changed(content, rng)
        case "npy":
            return hostile_arrays.changed(content, rng)
        case "hdf5":
            return hostile_arrays.changed_hdf5(content, rng)
        case "packed":
            return _changed_packed(content, rng)
        case "zip":
            return hostile_zips.changed(content, rng, changed_structure)
        case _:
            return hostile_texts.changed_numbers(content, rng)


def bombs(name: str, content: bytes) -> Bombs:
    """Yields what each bomb that fits the kind of a file is, and a function that makes it of the file."""
    yield "empty", lambda: b""
    yield "zeros", lambda: b"\0" * 4096
    if not content:
        return
    match kind(name, content):
        case "json":
            yield from hostile_texts.json_bombs(content)
        case "jsonl":
            first, *others = content.splitlines(keepends=True)
            for change, make in hostile_texts.json_bombs(first):
                yield change, lambda make=make: b"".join([make(), b"\n", *others])
        case "yaml":
            yield from hostile_texts.yaml_bombs(content)
        case "pkl":
            yield from hostile_pickles.bombs(content)
        case "npy":
            yield from hostile_arrays.bombs(content)
        case "hdf5":
            yield from hostile_arrays.hdf5_bombs(content)
        case "packed":
            yield from _packed_bombs(content)
        case "zip":
            yield from hostile_zips.bombs(content, bombs)
        case "image":
            yield from hostile_arrays.image_bombs()
        case "txt":
            yield from hostile_texts.line_bombs(content)


def _changed_line(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Changes a line of JSON lines."""
    lines = content.splitlines(keepends=True)
    place = rng.randrange(len(lines))
    change, text = hostile_texts.changed_json(lines[place], rng)
    lines[place] = text.replace(b"\n", b" ") + b"\n"
    return f"line {place}: {change}", b"".join(lines)


def _repacked(text: bytes, tensors: bytes, packed: bytes | None = None) -> bytes:
    """Returns a packed file with a valid checksum."""
    header = zlib.compress(text) if packed is None else packed
    body = struct.pack("<I", len(header)) + header + tensors
    return _PACKED + struct.pack("<I", zlib.crc32(body)) + body


def _unpacked(content: bytes) -> tuple[bytes, bytes]:
    """Returns the header of a packed file, and its tensors."""
    begin = len(_PACKED) + 8
    (size,) = struct.unpack_from("<I", content, begin - 4)
    return zlib.decompress(content[begin : begin + size]), content[begin + size :]


def _changed_packed(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    text, tensors = _unpacked(content)
    if rng.random() < 0.7:
        change, text = hostile_texts.changed_json(text, rng)
    else:
        change, tensors = hostile_texts.changed_numbers(tensors, rng)
    return f"packed {change}", _repacked(text, tensors)


def _packed_bombs(content: bytes) -> Bombs:
    text, tensors = _unpacked(content)
    for change, make in hostile_texts.json_bombs(text):
        yield f"header: {change}", lambda make=make: _repacked(make(), tensors)
    yield "header of gigabytes", lambda: _repacked(b"", tensors, hostile_zips.zlib_zeros())
    header: dict[str, Any] = json.loads(text)
    for name, value in (
        ("kept", 1 << 40),
        ("kept", -1),
        ("sizes", [1 << 40]),
        ("sizes", [-1]),
        ("bytes", [1 << 40] * 3),
    ):
        changed = json.loads(text)
        for entry in changed["tensors"]:
            if name in entry:
                entry[name] = value
        yield f"{name} {value}", lambda changed=changed: _repacked(json.dumps(changed).encode(), tensors)
    for dtype in ("O", "V1000000000", "f8,(1000000,1000)f8", "U99999999", "|S0", ">f4", "M8[D]", "c16"):
        changed = json.loads(text)
        for entry in changed["tensors"]:
            entry["dtype"] = dtype
        yield f"dtype {dtype}", lambda changed=changed: _repacked(json.dumps(changed).encode(), tensors)
    for change, config in hostile_texts.keras_bombs(header["model"]):
        changed = {**header, "model": config}
        yield f"model: {change}", lambda changed=changed: _repacked(hostile_texts.dumped(changed), tensors)
