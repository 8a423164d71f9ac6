"""Packed files: one bit for the sign of each kept weight, and back to a Keras model.

Sub-network layers have kernels `sign * mask * size`, with one size per output channel. Masks and signs are stored as
compressed bits, everything else in float32. A file is a magic line, a CRC-32, a compressed JSON header (the model's
configuration and a list of tensors) and the tensors' bytes.
"""

import json
import lzma
import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfprune.errors import CheckpointError, ConfigError
from tfprune.exporting.keras import folded_model, plain_model
from tfprune.exporting.output import output_file, output_path
from tfprune.exporting.record import Record, record_text
from tfprune.keras_private import child_layers, flat_layers
from tfprune.layers.kernels import named_kernels
from tfprune.reprs import short_repr

_MAGIC = b"tfprune packed 1\n"
_LARGEST_HEADER = 1 << 26  # bytes, decompressed
_PLAIN, _HUFFMAN, _DEFLATE, _LZMA = "plain", "huffman", "deflate", "lzma"


@dataclass(frozen=True)
class PackedSize:
    """Sizes of a packed model in bytes.

    Attributes:
        file: Bytes of the file.
        float32: Bytes of all weights in float32.
        weights: Number of weights in the packed kernels.
        kept: Number of them that are not 0.
        least: Smallest number of bytes for their masks and signs, if weights are kept independently of each other.
        other: Bytes of everything else: biases, sizes, weights of other layers.
    """

    file: int
    float32: int
    weights: int
    kept: int
    least: int
    other: int

    def __str__(self) -> str:
        """Returns the sizes in one line."""
        return (
            f"{self.file} bytes: {self.float32 / self.file:.1f} times smaller than float32; masks and signs of "
            f"{self.kept} kept of {self.weights} weights need at least {self.least}, everything else {self.other}"
        )


def export_packed(model: keras.Model, path: str | os.PathLike[str], *, record: Record | None = None) -> PackedSize:
    """Writes a model with one bit for the sign of each kept weight, and a compressed mask of which are kept.

    Sub-network layers have such kernels; batch norms directly behind them are folded into one size per output channel
    and a bias. Everything else is stored in float32. `load_packed` reads the file.

    Args:
        model: A functional or sequential model. It is not changed.
        path: The file, ending in `.mpt`; an older one is replaced.
        record: What to store in the file about the model, see `tfprune.exporting.record_text`. Default: nothing.

    Returns:
        The sizes.

    Raises:
        ConfigError: The name does not end in `.mpt`, or no kernel can be packed.
        UnsupportedLayerError: The model has layers that built-in layers cannot express.
        WriteError: The file cannot be written.
    """
    path = output_path(path, ".mpt")
    plain = folded_model(plain_model(model))
    entries: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    kernels: list[PackedKernel] = []
    for layer in _layers(plain):
        for variable in layer.variables:
            kernel = _pack_variable(layer, variable)
            if kernel is not None:
                kernels.append(kernel)
            entry, parts = _entry(np.asarray(variable), kernel)
            entries.append(entry)
            blobs += parts
    if not any(kernel.signs.size for kernel in kernels):
        raise ConfigError(
            f"expected kernels of signs in {model.name}, found none; convert the model to family 'subnet' and train it"
        )
    header = {"model": keras.saving.serialize_keras_object(plain), "tensors": entries}
    if record is not None:
        header["record"] = json.loads(record_text(record))
    packed_header = zlib.compress(json.dumps(header).encode(), 9)
    body = struct.pack("<I", len(packed_header)) + packed_header + b"".join(blobs)
    content = _MAGIC + struct.pack("<I", zlib.crc32(body)) + body
    with output_file(path) as partial:
        partial.write_bytes(content)
    return PackedSize(
        file=len(content),
        float32=4 * sum(math.prod(variable.shape) for variable in plain.variables),
        weights=sum(kernel.mask.size for kernel in kernels),
        kept=sum(kernel.signs.size for kernel in kernels),
        least=math.ceil(sum(kernel.least_bytes for kernel in kernels)),
        other=len(content) - sum(sum(entry["bytes"][:2]) for entry in entries if "ways" in entry),
    )


def load_packed(path: str | os.PathLike[str]) -> keras.Model:
    """Reads a file that `export_packed` wrote, as a plain Keras model.

    No code of a file is run: it may name Keras' own layers only, in Keras' safe mode.

    Args:
        path: The file.

    Returns:
        The model, of built-in layers, float32.

    Raises:
        CheckpointError: The file is missing, damaged, or something else.
    """
    header, blobs = _read(Path(path))
    try:
        model = keras.saving.deserialize_keras_object(header["model"], safe_mode=True)
        variables = [variable for layer in _layers(model) for variable in layer.variables]
        entries = header["tensors"]
        if len(entries) != len(variables):
            raise CheckpointError(f"expected {len(variables)} tensors in {path}, found {len(entries)}")
        place = 0
        for variable, entry in zip(variables, entries, strict=True):
            sizes = [int(size) for size in entry["bytes"]]
            if any(size < 0 for size in sizes) or place + sum(sizes) > len(blobs):
                raise CheckpointError(f"expected whole tensors in {path}, found some cut short; fetch it again")
            variable.assign(_tensor(entry, sizes, blobs[place : place + sum(sizes)], tuple(variable.shape)))
            place += sum(sizes)
    except CheckpointError:
        raise
    except Exception as error:  # a foreign file can make Keras raise anything
        raise CheckpointError(
            f"expected a model of Keras' own layers in {path}, found something else "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); pack the model again"
        ) from error
    return model


def read_packed_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what a file of `export_packed` records about its model.

    Args:
        path: The file.

    Returns:
        The record; empty if there is none.

    Raises:
        CheckpointError: The file is missing, damaged, or something else.
    """
    header, _ = _read(Path(path))
    record = header.get("record")
    return record if isinstance(record, dict) else {}


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Returns header and tensors of a file, checked for damage."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; check the path") from error
    if not content.startswith(_MAGIC):
        raise CheckpointError(f"expected a packed model in {path}, found something else; write it with export_packed")
    start = len(_MAGIC)
    if len(content) < start + 8 or zlib.crc32(content[start + 4 :]) != struct.unpack_from("<I", content, start)[0]:
        raise CheckpointError(f"{path} is damaged or cut short; fetch the file again")
    size = struct.unpack_from("<I", content, start + 4)[0]
    begin = start + 8
    try:
        text = zlib.decompressobj().decompress(content[begin : begin + size], _LARGEST_HEADER)
        header = json.loads(text)
        if not isinstance(header, dict) or not {"model", "tensors"} <= header.keys():
            raise ValueError("no model in it")
    except (zlib.error, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: its header cannot be read ({error}); fetch it again") from error
    return header, content[begin + size :]


def _layers(model: keras.Model) -> list[keras.Layer]:
    """Returns the layers that own variables, in the same order for a model and for one made from its configuration."""
    return [layer for layer in flat_layers(model) if not child_layers(layer)]


@dataclass(frozen=True)
class PackedKernel:
    """The parts of a kernel `sign * mask * size`.

    Attributes:
        mask: Bool, of the kernel's shape.
        signs: Bool, True for minus, one per kept weight in the order of the kernel.
        sizes: Float32, one per output channel: the last axis, or the last two of a depthwise kernel.
    """

    mask: np.ndarray
    signs: np.ndarray
    sizes: np.ndarray

    __repr__ = short_repr

    @property
    def kernel(self) -> np.ndarray:
        """The kernel, float32."""
        values = np.zeros(self.mask.shape, np.float32)
        values[self.mask] = np.where(self.signs, np.float32(-1), np.float32(1))
        return values * self.sizes

    @property
    def least_bytes(self) -> float:
        """The entropy of mask and signs in bytes, if weights are kept independently of each other."""
        share = self.mask.mean()
        parts = np.array([share, 1 - share])
        entropy = -(parts[parts > 0] * np.log2(parts[parts > 0])).sum()
        return (self.mask.size * entropy + self.signs.size) / 8


def _pack_variable(layer: keras.Layer, variable: keras.Variable) -> PackedKernel | None:
    """Splits a variable if it is a kernel of signs; returns None for others."""
    kernel = next((each for each in named_kernels(layer) if variable is getattr(layer, each.attribute, None)), None)
    return None if kernel is None else pack_kernel(np.asarray(variable), channel_axes=2 if kernel.depthwise else 1)


def _entry(array: np.ndarray, kernel: PackedKernel | None) -> tuple[dict[str, Any], list[bytes]]:
    """Returns the entry of a tensor in the header, and its bytes."""
    if kernel is None:
        return {"dtype": array.dtype.str, "bytes": [array.nbytes]}, [array.tobytes()]
    ways, parts = zip(*(compress_bits(bits) for bits in (kernel.mask, kernel.signs)), strict=True)
    parts = (*parts, kernel.sizes.astype("<f4").tobytes())
    entry = {
        "ways": ways,
        "kept": kernel.signs.size,
        "sizes": kernel.sizes.shape,
        "bytes": [len(part) for part in parts],
    }
    return entry, list(parts)


def _tensor(entry: dict[str, Any], sizes: list[int], data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a tensor from its entry in the header and its bytes."""
    if "ways" not in entry:
        return np.frombuffer(data, np.dtype(entry["dtype"])).reshape(shape)
    mask = decompress_bits(entry["ways"][0], data[: sizes[0]], math.prod(shape)).reshape(shape)
    kept = int(entry["kept"])
    if kept != np.count_nonzero(mask):
        raise CheckpointError(f"expected {np.count_nonzero(mask)} signs, the file says {kept}; fetch it again")
    signs = decompress_bits(entry["ways"][1], data[sizes[0] : sizes[0] + sizes[1]], kept)
    channels = np.frombuffer(data[sizes[0] + sizes[1] :], "<f4").reshape(entry["sizes"])
    return PackedKernel(mask, signs, channels).kernel


def pack_kernel(kernel: np.ndarray, *, channel_axes: int) -> PackedKernel | None:
    """Splits a kernel, if all nonzero weights of an output channel have the same absolute value.

    Args:
        kernel: Float32.
        channel_axes: Number of trailing axes that count output channels.

    Returns:
        The parts; None for any other kernel.
    """
    axes = tuple(range(kernel.ndim - channel_axes))
    sizes = np.abs(kernel).max(axes)
    mask = kernel != 0
    packed = PackedKernel(mask, kernel[mask] < 0, sizes)
    return packed if np.array_equal(packed.kernel, kernel) else None


def compress_bits(bits: np.ndarray) -> tuple[str, bytes]:
    """Packs eight bits to a byte, and compresses the bytes by the method that gives the fewest.

    Args:
        bits: Bool, of any shape.

    Returns:
        The method, and the bytes.
    """
    raw = np.packbits(bits.ravel()).tobytes()
    huffman = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 0, "pb": 0}]
    ways = {
        _PLAIN: raw,
        _HUFFMAN: huffman.compress(raw) + huffman.flush(),
        _DEFLATE: zlib.compress(raw, 9),
        _LZMA: lzma.compress(raw, lzma.FORMAT_RAW, filters=filters),
    }
    way = min(ways, key=lambda name: len(ways[name]))
    return way, ways[way]


def decompress_bits(way: str, data: bytes, count: int) -> np.ndarray:
    """Returns the bits that `compress_bits` compressed.

    Args:
        way: The method.
        data: The bytes.
        count: Expected number of bits. No more memory is used than they need, whatever the bytes contain.

    Returns:
        Bool `[count]`.

    Raises:
        CheckpointError: The bytes are damaged, or of another method or number of bits.
    """
    size = (count + 7) // 8
    try:
        if way == _LZMA:
            filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 0, "pb": 0}]
            data = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters).decompress(data, size + 1)
        elif way in (_HUFFMAN, _DEFLATE):
            data = zlib.decompressobj(-15 if way == _HUFFMAN else 15).decompress(data, size + 1)
        elif way != _PLAIN:
            raise CheckpointError(f"expected bits packed in a known way, received {way!r:.40}; update tfprune")
    except (zlib.error, lzma.LZMAError) as error:
        raise CheckpointError(f"expected packed bits, found damaged ones ({error}); fetch the file again") from error
    if len(data) != size:
        raise CheckpointError(f"expected {size} bytes of packed bits, found {len(data)}; fetch the file again")
    return np.unpackbits(np.frombuffer(data, np.uint8), count=count).astype(bool)
