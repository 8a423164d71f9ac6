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
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any

import keras
import numpy as np
from msgspec import Meta

from tfprune.errors import ConfigError, first_line
from tfprune.exporting.keras import folded_model, plain_model
from tfprune.exporting.output import output_file, output_path
from tfprune.exporting.record import Record, record_text
from tfprune.files import as_path
from tfprune.keras_private import child_layers, flat_layers
from tfprune.layers.kernels import named_kernels
from tfprune.model_file import described_model
from tfprune.reading import Count, RefusedError, Size, check_weights, json_value, read_bytes, reading, shown, typed
from tfprune.reading.keras_config import checked_config
from tfprune.reprs import short_repr

_MAGIC = b"tfprune packed 1\n"
_FILE_BYTES = 8  # behind the magic line: the sum, and the length of the header
_LARGEST_FILE = 1 << 31  # bytes
_LARGEST_HEADER = 1 << 24  # bytes, decompressed
_LEAST_VALUES = 1 << 25  # of any model
_GROWTH = 128  # values more for each byte; as many as have one percent of weights left
_PLAIN, _HUFFMAN, _DEFLATE, _LZMA = "plain", "huffman", "deflate", "lzma"
_LZMA_FILTER = {"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 0, "pb": 0}
_LEAST_DICTIONARY = 1 << 12  # bytes that LZMA looks back; no more are needed than there are in all


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

    No code of a file is run: it may name Keras' own layers only, in Keras' safe mode. A small file cannot ask for much
    memory: its model may have 2^25 values, and 128 more for each byte of the file.

    Args:
        path: The file.

    Returns:
        The model, of built-in layers, float32.

    Raises:
        CheckpointError: The file is missing, damaged, or something else; or a weight is not finite.
    """
    path = as_path(path)
    with _reading(path):
        header, blobs = _read(path)
        values = _LEAST_VALUES + _GROWTH * (len(blobs) + _FILE_BYTES)
        model = described_model(path, checked_config(header.model), most=values)
        variables = [variable for layer in _layers(model) for variable in layer.variables]
        if len(header.tensors) != len(variables):
            raise RefusedError(f"it has {len(header.tensors)} tensors for the {len(variables)} of its model")
        place = 0
        for variable, entry in zip(variables, header.tensors, strict=True):
            size = sum(entry.bytes)
            if place + size > len(blobs):
                raise RefusedError("its tensors are cut short")
            array = _tensor(entry, blobs[place : place + size], tuple(variable.shape))
            check_weights({variable.path: array})
            variable.assign(array)
            place += size
        if place != len(blobs):
            raise RefusedError(f"it has {len(blobs) - place:,} bytes behind its tensors")
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
    path = as_path(path)
    with _reading(path):
        header, _ = _read(path)
    return header.record or {}


def _reading(path: str | os.PathLike[str]) -> AbstractContextManager[None]:
    return reading(path, "a packed model", advice="fetch it again, or write it with export_packed")


@dataclass(frozen=True)
class _Entry:
    """What the header says about a tensor: its type; or, of a packed kernel, how its parts are stored.

    Attributes:
        bytes: Bytes of the tensor, or of mask, signs and sizes.
        dtype: Type of a tensor that is stored as it is.
        ways: How mask and signs are compressed.
        kept: Number of signs.
        sizes: Shape of the sizes.
    """

    bytes: tuple[Count, ...]
    dtype: Annotated[str, Meta(pattern="^[<|>][biuf][1248]$")] | None = None
    ways: tuple[str, str] | None = None
    kept: Count | None = None
    sizes: tuple[Size, ...] | None = None


@dataclass(frozen=True)
class _Header:
    """The header of a file."""

    model: dict[str, Any]
    tensors: tuple[_Entry, ...]
    record: dict[str, Any] | None = None


def _read(path: str | os.PathLike[str]) -> tuple[_Header, memoryview]:
    """Returns header and tensors of a file, checked for damage; raises any error if there are none."""
    whole = read_bytes(path, _LARGEST_FILE)
    if not whole.startswith(_MAGIC):
        raise RefusedError("found something else")
    content = memoryview(whole)[len(_MAGIC) :]
    if len(content) < _FILE_BYTES or zlib.crc32(content[4:]) != struct.unpack_from("<I", content)[0]:
        raise RefusedError("it is damaged or cut short")
    size = struct.unpack_from("<I", content, 4)[0]
    packed = zlib.decompressobj()
    text = packed.decompress(content[_FILE_BYTES : _FILE_BYTES + size], _LARGEST_HEADER)
    if not packed.eof:
        raise RefusedError("its header is cut short or too long")
    return typed(json_value(text, finite=False), _Header), content[_FILE_BYTES + size :]


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


def _tensor(entry: _Entry, data: memoryview, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a tensor from its entry in the header and its bytes."""
    if entry.dtype is not None and len(entry.bytes) == 1:
        return np.frombuffer(data, np.dtype(entry.dtype)).reshape(shape)
    if entry.ways is None or entry.kept is None or not entry.sizes or len(entry.bytes) != 3:
        raise RefusedError("it has a tensor that is stored neither as it is nor as mask, signs and sizes")
    if entry.sizes != shape[-len(entry.sizes) :]:
        raise RefusedError(f"it has sizes {shown(entry.sizes)} for a kernel {shown(shape)}")
    end, stop = entry.bytes[0], sum(entry.bytes[:2])
    mask = decompress_bits(entry.ways[0], data[:end], math.prod(shape)).reshape(shape)
    if entry.kept != np.count_nonzero(mask):
        raise RefusedError(f"it says {entry.kept:,} signs for {np.count_nonzero(mask):,} kept weights")
    signs = decompress_bits(entry.ways[1], data[end:stop], entry.kept)
    channels = np.frombuffer(data[stop:], "<f4").reshape(entry.sizes)
    check_weights({"sizes": channels})
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
    ways = {
        _PLAIN: raw,
        _HUFFMAN: huffman.compress(raw) + huffman.flush(),
        _DEFLATE: zlib.compress(raw, 9),
        _LZMA: lzma.compress(raw, lzma.FORMAT_RAW, filters=[_LZMA_FILTER]),
    }
    way = min(ways, key=lambda name: len(ways[name]))
    return way, ways[way]


def decompress_bits(way: str, data: bytes | memoryview, count: int) -> np.ndarray:
    """Returns the bits that `compress_bits` compressed.

    Args:
        way: The method.
        data: The bytes.
        count: Expected number of bits. No more memory is used than they need, whatever the bytes contain.

    Returns:
        Bool `[count]`.

    Raises:
        RefusedError: The bytes are damaged, or of another method or number of bits.
    """
    size = (count + 7) // 8
    try:
        if way == _LZMA:
            filters = [_LZMA_FILTER | {"dict_size": max(_LEAST_DICTIONARY, size + 1)}]
            data = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters).decompress(data, size + 1)
        elif way in (_HUFFMAN, _DEFLATE):
            data = zlib.decompressobj(-15 if way == _HUFFMAN else 15).decompress(data, size + 1)
        elif way != _PLAIN:
            raise RefusedError(f"its bits are packed in the unknown way {shown(way)}")
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise RefusedError(f"its packed bits are damaged: {first_line(error)}") from error
    if len(data) != size:
        raise RefusedError(f"it has {len(data):,} bytes of packed bits, where {size:,} were expected")
    return np.unpackbits(np.frombuffer(data, np.uint8), count=count).astype(bool)
