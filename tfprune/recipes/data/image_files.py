"""Files of images: what is read of them, and how large an image is, before it is decoded.

A few bytes can claim billions of pixels, and decoders take memory for all of them. `read_image` reads a file within a
limit; `within` lets an encoded image pass if it has no more pixels than it may have.
"""

import os
import struct

import numpy as np
import tensorflow as tf

from tfprune.reading import read_bytes

LARGEST_FILE = 64 << 20
"""Bytes of the largest encoded image."""

MOST_PIXELS = 1 << 26
"""Pixels of the largest image; of a GIF, those of all its frames, which are all decoded."""

_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_GIF = (b"GIF87a", b"GIF89a")
_GIF_FRAME, _GIF_EXTENSION = 0x2C, 0x21


def read_image(path: str | os.PathLike[str]) -> bytes:
    """Returns the content of an image file.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
        RefusedError: It is no regular file, or has more than `LARGEST_FILE` bytes.
    """
    return read_bytes(path, LARGEST_FILE)


def within(contents: tf.Tensor, most: int = MOST_PIXELS) -> tf.Tensor:
    """Returns an encoded image if it can be decoded to no more pixels than it may have; to be decoded from the result.

    Args:
        contents: The encoded image, string scalar: JPEG, PNG, BMP or GIF. Others are refused: decoders of TensorFlow
            know more formats in some versions.
        most: The most pixels.

    Returns:
        `contents`.

    Raises:
        InvalidArgumentError: It has more pixels, or none, or is no such image; in a graph when it runs.
    """
    png = tf.equal(tf.strings.substr(contents, 0, len(_PNG)), _PNG)

    def png_pixels() -> tf.Tensor:
        sides = tf.io.decode_raw(tf.strings.substr(contents, len(_PNG), 8), tf.int32, little_endian=False)
        return _product(tf.ensure_shape(sides, [2]))

    def other_pixels() -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(_pixels, [contents], tf.int64, stateful=False), [])

    def pixels() -> tf.Tensor:
        return _fitting(tf.cond(png, png_pixels, other_pixels), most)

    fitting = tf.cond(tf.io.is_jpeg(contents), lambda: _product(jpeg_sides(contents, most)), pixels)
    with tf.control_dependencies([fitting]):
        return tf.identity(contents)


def jpeg_sides(contents: tf.Tensor, most: int = MOST_PIXELS) -> tf.Tensor:
    """Returns height and width of a JPEG image that `within` lets pass, `[2]`, int32; arguments and errors as there."""
    sides = tf.io.extract_jpeg_shape(contents)[:2]
    with tf.control_dependencies([_fitting(_product(sides), most)]):
        return tf.identity(sides)


def _fitting(pixels: tf.Tensor, most: int) -> tf.Tensor:
    """Returns a number of pixels that an image may have."""
    fits = tf.debugging.Assert((pixels > 0) & (pixels <= most), [f"an image of no pixels, or more than {most:,}"])
    with tf.control_dependencies([fits]):
        return tf.identity(pixels)


def _product(sides: tf.Tensor) -> tf.Tensor:
    """Returns the number of pixels; none if a side is negative."""
    return tf.reduce_prod(tf.maximum(tf.cast(sides, tf.int64), 0))


def _pixels(given: bytes | np.ndarray) -> np.int64:
    """Returns the number of pixels that are decoded of a BMP or GIF; none of others."""
    contents = bytes(np.asarray(given, object).item())  # an array where there is no graph
    if contents.startswith(_GIF):
        return np.int64(_gif_pixels(contents))
    if contents.startswith(b"BM") and len(contents) >= 26:
        width, height = struct.unpack_from("<ii", contents, 18)
        return np.int64(max(width, 0) * abs(height))  # a negative height: rows from top to bottom
    return np.int64(0)


def _gif_pixels(contents: bytes) -> int:
    """Returns the pixels of all frames of a GIF, and of one that holds each of them."""
    together = 0
    try:
        width, height, flags = struct.unpack_from("<HHB", contents, 6)
        place = 13 + _palette(flags)
        while (block := contents[place]) in (_GIF_FRAME, _GIF_EXTENSION):
            place += 2  # a label follows the kind of an extension
            if block == _GIF_FRAME:
                frame_width, frame_height, flags = struct.unpack_from("<HHB", contents, place + 3)
                together += frame_width * frame_height
                width, height = max(width, frame_width), max(height, frame_height)
                place += 9 + _palette(flags)
            while size := contents[place]:
                place += 1 + size
            place += 1
    except (IndexError, struct.error):
        pass  # cut short: the decoder takes the frames before
    return together + width * height


def _palette(flags: int) -> int:
    """Returns the bytes of a table of colors."""
    return 3 * 2 << (flags & 7) if flags & 0x80 else 0
