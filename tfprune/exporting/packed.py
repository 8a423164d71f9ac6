"""Models as files of one bit per kept weight, and back."""

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
from tfprune.exporting.plain import folded_model, plain_model
from tfprune.exporting.replacement import replaced_file
from tfprune.keras_private import child_layers, flat_layers
from tfprune.layers.kernels import named_kernels

_MAGIC = b"tfprune packed 1\n"
_LARGEST_HEADER = 1 << 26
_PLAIN, _HUFFMAN, _DEFLATE, _LZMA = "plain", "huffman", "deflate", "lzma"


@dataclass(frozen=True)
class PackedSize:
    """What packing a model gave.

    Attributes:
        file: Bytes of the file.
        float32: Bytes of all weights in float32.
        weights: Weights in kernels that were packed.
        kept: Those of them that are not 0.
        least: Bytes that masks and signs of these need at least, if weights are kept independently of each other.
        other: Bytes of all that was not packed: biases, sizes, other layers' weights.
    """

    file: int
    float32: int
    weights: int
    kept: int
    least: int
    other: int

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.file} bytes: {self.float32 / self.file:.1f} times smaller than float32; masks and signs of "
            f"{self.kept} kept of {self.weights} weights need {self.least} at least, all else {self.other}"
        )


def export_packed(model: keras.Model, path: str | os.PathLike[str]) -> PackedSize:
    """Writes a model with one bit for the sign of each kept weight, and what it takes to say which these are.

    Sub-network layers give such kernels; batch norms right behind them are folded into one size per output channel and
    a bias. All else is stored in float32. The result is read by `load_packed`.

    Args:
        model: A functional or sequential model. It is not changed.
        path: The file, ending in `.mpt`; an older one is replaced.

    Returns:
        The sizes.

    Raises:
        ConfigError: The name does not end in `.mpt`, or no kernel can be packed.
        UnsupportedLayerError: The model has layers that stock layers cannot stand for.
    """
    path = Path(path)
    if path.suffix != ".mpt":
        raise ConfigError(f"expected a file name that ends in .mpt, received {path}; rename it")
    plain = folded_model(plain_model(model))
    entries: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    kernels: list[PackedKernel] = []
    for layer in _layers(plain):
        for variable in layer.variables:
            kernel = _packed(layer, variable)
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
    packed_header = zlib.compress(json.dumps(header).encode(), 9)
    body = struct.pack("<I", len(packed_header)) + packed_header + b"".join(blobs)
    content = _MAGIC + struct.pack("<I", zlib.crc32(body)) + body
    with replaced_file(path) as partial:
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
    """A plain Keras model from a file that `export_packed` wrote.

    Nothing that a file says is run: it may name Keras' own layers only, in Keras' safe mode.

    Args:
        path: The file.

    Returns:
        The model, of stock layers, float32.

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
    except Exception as error:  # a file that is not ours can make Keras raise anything
        raise CheckpointError(
            f"expected a model of Keras' own layers in {path}, found something else "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); pack the model again"
        ) from error
    return model


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and tensors of a file, checked for damage."""
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
    """The layers that own variables, in one order for a model and for what its configuration makes."""
    return [layer for layer in flat_layers(model) if not child_layers(layer)]


@dataclass(frozen=True)
class PackedKernel:
    """A kernel `sign * mask * size`, in pieces.

    Attributes:
        mask: Bool, of the kernel's shape.
        signs: Bool, True for minus, one per kept weight in the order of the kernel.
        sizes: Float32, one per output channel: the last axis, or the last two of a depthwise kernel.
    """

    mask: np.ndarray
    signs: np.ndarray
    sizes: np.ndarray

    @property
    def kernel(self) -> np.ndarray:
        """Float32."""
        values = np.zeros(self.mask.shape, np.float32)
        values[self.mask] = np.where(self.signs, np.float32(-1), np.float32(1))
        return values * self.sizes

    @property
    def least_bytes(self) -> float:
        """What mask and signs need if weights are kept independently of each other: the entropy."""
        share = self.mask.mean()
        parts = np.array([share, 1 - share])
        entropy = -(parts[parts > 0] * np.log2(parts[parts > 0])).sum()
        return (self.mask.size * entropy + self.signs.size) / 8


def _packed(layer: keras.Layer, variable: keras.Variable) -> PackedKernel | None:
    kernel = next((each for each in named_kernels(layer) if variable is getattr(layer, each.attribute, None)), None)
    return None if kernel is None else packed_kernel(np.asarray(variable), channel_axes=2 if kernel.depthwise else 1)


def _entry(array: np.ndarray, kernel: PackedKernel | None) -> tuple[dict[str, Any], list[bytes]]:
    """What the header says of a tensor, and its bytes."""
    if kernel is None:
        return {"dtype": array.dtype.str, "bytes": [array.nbytes]}, [array.tobytes()]
    ways, parts = zip(*(squeezed(bits) for bits in (kernel.mask, kernel.signs)), strict=True)
    parts = (*parts, kernel.sizes.astype("<f4").tobytes())
    entry = {
        "ways": ways,
        "kept": kernel.signs.size,
        "sizes": kernel.sizes.shape,
        "bytes": [len(part) for part in parts],
    }
    return entry, list(parts)


def _tensor(entry: dict[str, Any], sizes: list[int], data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor from its bytes."""
    if "ways" not in entry:
        return np.frombuffer(data, np.dtype(entry["dtype"])).reshape(shape)
    mask = unsqueezed(entry["ways"][0], data[: sizes[0]], math.prod(shape)).reshape(shape)
    kept = int(entry["kept"])
    if kept != np.count_nonzero(mask):
        raise CheckpointError(f"expected {np.count_nonzero(mask)} signs, the file says {kept}; fetch it again")
    signs = unsqueezed(entry["ways"][1], data[sizes[0] : sizes[0] + sizes[1]], kept)
    channels = np.frombuffer(data[sizes[0] + sizes[1] :], "<f4").reshape(entry["sizes"])
    return PackedKernel(mask, signs, channels).kernel


def packed_kernel(kernel: np.ndarray, *, channel_axes: int) -> PackedKernel | None:
    """Takes a kernel apart, if within each output channel all weights that are not 0 have one absolute value.

    Args:
        kernel: Float32.
        channel_axes: How many of the last axes count output channels.

    Returns:
        The pieces; None for any other kernel.
    """
    axes = tuple(range(kernel.ndim - channel_axes))
    sizes = np.abs(kernel).max(axes)
    mask = kernel != 0
    packed = PackedKernel(mask, kernel[mask] < 0, sizes)
    return packed if np.array_equal(packed.kernel, kernel) else None


def squeezed(bits: np.ndarray) -> tuple[str, bytes]:
    """Bits as few bytes, by the way that takes the fewest: eight to a byte, or those entropy-coded.

    Args:
        bits: Bool, of any shape.

    Returns:
        The way, and the bytes.
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


def unsqueezed(way: str, data: bytes, count: int) -> np.ndarray:
    """What `squeezed` made small.

    Args:
        way: The way.
        data: The bytes.
        count: How many bits there must be. No more memory is taken than they need, whatever the bytes say.

    Returns:
        Bool `[count]`.

    Raises:
        CheckpointError: The bytes are others.
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
