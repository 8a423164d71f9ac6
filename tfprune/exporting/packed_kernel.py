"""Kernels of signs, zeros and one size per output channel, as bits."""

import lzma
import zlib
from dataclasses import dataclass

import numpy as np

from tfprune.errors import CheckpointError

_PLAIN, _HUFFMAN, _DEFLATE, _LZMA = "plain", "huffman", "deflate", "lzma"


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
