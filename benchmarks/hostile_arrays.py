"""Changes and bombs of arrays in files: NumPy's `.npy`, HDF5, images."""

import ast
import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np
from hostile_texts import changed_numbers, changed_value

Bombs = Iterator[tuple[str, Callable[[], bytes]]]
_MAGIC = b"\x93NUMPY"


def _written(header: str, data: bytes, version: int = 1) -> bytes:
    """Returns an `.npy` file with a header as it is."""
    raw = header.encode("latin1", "replace") + b"\n"
    size = struct.pack("<H", len(raw) & 0xFFFF) if version == 1 else struct.pack("<I", len(raw))
    return _MAGIC + bytes([version, 0]) + size + raw + data


def _header(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Returns the header of an `.npy` file, and its data."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    size = struct.unpack("<H" if version == (1, 0) else "<I", stream.read(2 if version == (1, 0) else 4))[0]
    return ast.literal_eval(stream.read(size).decode("latin1")), stream.read()


def bombs(content: bytes) -> Bombs:
    """Yields `.npy` files with other headers, and of other arrays."""
    fields, data = _header(content)

    def other(**changes: Any) -> Callable[[], bytes]:
        return lambda: _written(repr(fields | changes), data)

    for shape in (
        (10**9,),
        (10**12,),
        (1 << 62, 2),
        (1 << 63,),
        (-1,),
        (0,),
        (),
        (1,) * 65,
        (True,),
        (1.5,),
        "x",
        None,
        (0, 1 << 62),
    ):
        yield f"shape {str(shape)[:30]}", other(shape=shape)
    for dtype in (
        "|O",
        "|V999999999",
        "<U99999999",
        "|S0",
        "<M8[s]",
        "<c16",
        "<f8",
        "<f2",
        ">f4",
        "|b1",
        "x",
        "",
        "<f4" * 999,
    ):
        yield f"dtype {dtype[:20]}", other(descr=dtype)
    yield "a dtype of parts", other(descr=[("a", "<f4", (10**6, 10**6))])
    yield "a dtype of many parts", other(descr=[(f"a{number}", "<f4") for number in range(2000)])
    yield "another order", other(fortran_order=True)
    yield "an order of text", other(fortran_order="x")
    yield "another key", other(more=1)
    yield "a header of many brackets", lambda: _written("(" * 9000, data)
    yield "a header of 900 brackets", lambda: _written("(" * 900 + ")" * 900, data)
    yield "a header of minus signs", lambda: _written("-" * 9000 + "1", data)
    yield "a header of many digits", lambda: _written("9" * 9000, data)
    yield "a long header", lambda: _written(repr(fields) + " " * 10_000_000, data, 2)
    yield "a header of 4 GB", lambda: _MAGIC + b"\x02\0" + b"\xff" * 4 + b"{" * 100
    yield "no header", lambda: _MAGIC + b"\x01\0\0\0"
    yield "a version of 9", lambda: _MAGIC + b"\x09\0" + content[8:]
    yield "a call", lambda: _written("__import__('os').system('true')", data)
    array = np.load(io.BytesIO(content), allow_pickle=False)
    for change, make in _others(array):
        yield change, lambda make=make: _saved(make())


def _others(array: np.ndarray) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yields arrays that replace one."""
    size = array.shape
    if array.dtype.kind in "fiub":
        for number in (float("nan"), float("inf"), 1e300, -1e39, -1.0, 2.0, 1e18):
            yield f"{number}", lambda number=number: np.full(size, number)
        for dtype in ("f8", "f2", ">f4", "i8", "u1", "?", "c8", "M8[s]", "S3", "U2"):
            yield f"of {dtype}", lambda dtype=dtype: np.ones(size, "i8").astype(dtype)
        yield "with other numbers", lambda: np.random.default_rng(0).integers(-9, 9, size)
    else:
        for text in (
            "",
            "x",
            "x" * 100_000,
            "\x1b[31m\n",
            "{",
            "[" * 200_000,
            '{"a": NaN}',
            "null",
            "1",
            "\u202e",
            "nan",
        ):
            yield f"text {text[:9]!r}", lambda text=text: np.array(text)
        yield "texts", lambda: np.array([["a", "b"]])
    yield "objects", lambda: np.array([None, {}], object)
    yield "bytes", lambda: np.array(b"x")
    yield "a number", lambda: np.array(3)
    yield "with an axis more", lambda: array[None, ..., None]
    yield "without numbers", lambda: array[..., :0] if array.ndim else np.zeros(0)
    yield "with an axis less", lambda: array.ravel()[: max(array.size - 1, 0)]
    yield "repeated", lambda: np.repeat(np.atleast_1d(array), 3, axis=-1)
    yield "parts", lambda: np.zeros(2, [("a", "f4"), ("b", "O")])


def _saved(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def changed(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Returns an `.npy` file with a value of its header changed, or a number of its data."""
    fields, data = _header(content)
    array = np.load(io.BytesIO(content), allow_pickle=False)
    match rng.randrange(3):
        case 0 if array.size and array.dtype.kind == "f":
            array = array.copy()
            array.flat[rng.randrange(array.size)] = rng.choice((np.nan, np.inf, -np.inf, 1e30, -1, 0))
            return "a number", _saved(array)
        case 1:
            change, data = changed_numbers(data, rng)
            return change, _written(repr(fields), data)
        case _:
            plain = fields | {"shape": list(fields["shape"])}
            change, plain = changed_value(plain, rng)
            if isinstance(plain, dict) and isinstance(plain.get("shape"), list):
                plain["shape"] = tuple(plain["shape"])
            return f"header {change}", _written(repr(plain)[:60_000], data)


def _edited(content: bytes, edit: Callable[[h5py.File], None]) -> bytes:
    """Returns an HDF5 file after an edit."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        edit(file)
    return buffer.getvalue()


def _datasets(content: bytes) -> list[str]:
    """Returns the names of all arrays in an HDF5 file."""
    found: list[str] = []
    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(lambda name, entry: found.append(name) if isinstance(entry, h5py.Dataset) else None)
    return found


def changed_hdf5(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Returns an HDF5 file with an array changed, or a number in its own bytes."""
    if rng.random() < 0.5:
        return changed_numbers(content, rng)
    name = rng.choice(_datasets(content))
    change, edit = rng.choice(list(_edits(name)))
    return f"{name} {change}", _edited(content, edit)


def hdf5_bombs(content: bytes) -> Bombs:
    """Yields HDF5 files with other arrays, links and groups."""
    names = _datasets(content)
    for name in dict.fromkeys((names[0], names[-1])):
        for change, edit in _edits(name):
            yield f"{name} {change}", lambda edit=edit: _edited(content, edit)

    def many(file: h5py.File) -> None:
        for number in range(3000):
            file.create_group(f"layers/g{number}")

    def deep(file: h5py.File) -> None:
        file.create_group("/".join(["layers", *["a"] * 3000]))

    def round_about(file: h5py.File) -> None:
        file["layers/again"] = file["layers"]
        file["layers/all"] = file["/"]

    yield "3,000 groups", lambda: _edited(content, many)
    yield "groups 3,000 deep", lambda: _edited(content, deep)
    yield "groups in themselves", lambda: _edited(content, round_about)
    yield "no layers", lambda: _edited(content, lambda file: file.__delitem__("layers"))


def _edits(name: str) -> Iterator[tuple[str, Callable[[h5py.File], None]]]:
    """Yields edits of an array."""

    def instead(make: Callable[[h5py.File], Any]) -> Callable[[h5py.File], None]:
        def edit(file: h5py.File) -> None:
            del file[name]
            made = make(file)
            if made is not None:
                file[name] = made

        return edit

    def dataset(**options: Any) -> Callable[[h5py.File], None]:
        return instead(lambda file: file.create_dataset(name, **options) and None)

    def zeros(file: h5py.File) -> None:
        """Two gigabytes of zeros, in a few kilobytes."""
        chunk = zlib.compress(bytes(1 << 26), 9)
        made = file.create_dataset(name, (1 << 29,), "f4", chunks=(1 << 24,), compression="gzip")
        for number in range(32):
            made.id.write_direct_chunk((number << 24,), chunk)

    yield "of zeros", instead(zeros)
    yield "of 10**12 numbers", dataset(shape=(10**6, 10**6), dtype="f4", chunks=(100, 100), compression="gzip")
    yield "of 10**12 numbers in one chunk", dataset(shape=(10**6, 10**3), dtype="f4", chunks=(10**4, 10**4 // 16))
    yield "of NaN", lambda file: file[name].write_direct(np.full(file[name].shape, np.nan, file[name].dtype))
    yield "of infinity", lambda file: file[name].write_direct(np.full(file[name].shape, np.inf, file[name].dtype))
    yield "of texts", dataset(data=["a", "b"], dtype=h5py.string_dtype())
    yield "of float64", instead(lambda file: np.full(3, 1e300))
    yield "of parts", dataset(data=np.zeros(3, [("a", "f4"), ("b", "i8")]))
    yield "of references", dataset(shape=(3,), dtype=h5py.ref_dtype)
    yield "of complex numbers", instead(lambda file: np.ones(3, complex))
    yield "of one number", instead(lambda file: np.float32(1))
    yield "of nothing", instead(lambda file: h5py.Empty("f4"))
    yield "without numbers", instead(lambda file: np.zeros(0, "f4"))
    yield "with 32 axes", instead(lambda file: np.zeros((1,) * 32, "f4"))
    yield "that is a group", instead(lambda file: file.create_group(name) and None)
    yield "that is missing", instead(lambda file: None)
    yield "in another file", dataset(shape=(3,), dtype="u1", external=[("/etc/passwd", 0, 3)])
    yield "that is a link to another file", instead(lambda file: h5py.ExternalLink("/etc/passwd", "/x"))
    yield "that is a link to itself", instead(lambda file: h5py.SoftLink(f"/{name}"))
    yield "that is a link to nothing", instead(lambda file: h5py.SoftLink("/nothing"))

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((10**6, 10**4), "f4")
        layout[:] = h5py.VirtualSource(".", name, shape=(10**6, 10**4))
        file.create_virtual_dataset(name, layout)

    yield "that is made of itself", instead(virtual)
    yield "with a large attribute", lambda file: file[name].attrs.create("x", np.zeros(8000, "f8"))


def image_bombs() -> Bombs:
    """Yields images of huge sizes, and of other encodings."""

    def png(width: int, height: int, data: bytes = b"") -> bytes:
        parts = (
            ("IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            ("IDAT", zlib.compress(data)),
            ("IEND", b""),
        )
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + name.encode() + body + struct.pack(">I", zlib.crc32(name.encode() + body))
            for name, body in parts
        )

    for width, height in ((1 << 31, 1), (65_535, 65_535), (20_000, 20_000), (1, 1 << 27), (0, 0), (30_000, 9000)):
        yield f"PNG of {width} x {height}", lambda width=width, height=height: png(width, height)
    yield "PNG of zeros", lambda: png(20_000, 20_000, bytes(1 << 28))
    yield "PNG of one pixel", lambda: png(1, 1, bytes(4))
    for width, height in ((65_535, 65_535), (30_000, 30_000), (0, 0)):
        frame = b"\xff\xc0\0\x11\x08" + struct.pack(">HH", height, width) + b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01"
        scan = b"\xff\xda\0\x0c\x03\x01\0\x02\x11\x03\x11\0\x3f\0" + bytes(64) + b"\xff\xd9"
        yield f"JPEG of {width} x {height}", lambda frame=frame, scan=scan: b"\xff\xd8" + frame + scan
    for count, size in ((1, 65_535), (1000, 30_000)):
        head = b"GIF89a" + struct.pack("<HH", size, size) + b"\x80\0\0" + bytes(6)
        image = b"," + struct.pack("<HHHH", 0, 0, size, size) + b"\0\x02\x02\x44\x01\0"
        yield (
            f"GIF of {count} images of {size}",
            lambda head=head, image=image, count=count: head + image * count + b";",
        )
    for width, height in ((1 << 30, 1 << 30), (65_535, 65_535), (-5, 1 << 31 - 1), (100, -100)):
        head = struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height & 0x7FFFFFFF, 1, 24, 0, 0, 0, 0, 0, 0)
        yield f"BMP of {width} x {height}", lambda head=head: b"BM" + head + bytes(300)
    yield "WebP", lambda: b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8 " + bytes(92)
    yield "another text", lambda: b"no image"
