"""Image files of any size in a few bytes, written from the descriptions of their formats."""

import struct
import zlib


def png(width, height, rows=b"", *, before=()):
    """A PNG of 8-bit red, green and blue; its rows may be missing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (*before, (b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )


def black_png(width, height):
    """A PNG that can be decoded, all black: each row is a filter and its pixels."""
    return png(width, height, bytes(height * (1 + 3 * width)))


def jpeg(width, height):
    """The header of a JPEG."""
    frame = b"\xff\xc0\0\x11\x08" + struct.pack(">HH", height, width) + b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01"
    return b"\xff\xd8" + frame + b"\xff\xda\0\x0c\x03\x01\0\x02\x11\x03\x11\0\x3f\0" + bytes(64) + b"\xff\xd9"


def gif(canvas, *frames, comment=b""):
    """A GIF of frames, each `(width, height)`; their pixels are missing."""
    head = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x80, 0, 0) + bytes(6)
    extension = b"\x21\xfe" + bytes([len(comment)]) + comment + b"\0" if comment else b""
    return head + b"".join(
        extension + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0x81) + bytes(12) + b"\x02\x02\x44\x01\0"
        for frame in frames
    )


def bmp(width, height):
    """The header of a BMP of 24 bits a pixel."""
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
