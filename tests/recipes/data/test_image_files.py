"""Images are refused by what their headers claim, before decoders take memory for it."""

import io
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.recipes.data.image_bytes import bmp, gif, jpeg, png
from tfprune.reading import RefusedError
from tfprune.recipes.data.image_files import read_image, within


def passes(contents, most):
    try:
        assert within(tf.constant(contents), most).numpy() == contents
    except tf.errors.OpError:
        return False
    return True


@pytest.mark.parametrize(
    ("contents", "pixels"),
    [
        (png(6, 7), 42),
        (jpeg(6, 7), 42),
        (bmp(6, 7), 42),
        (bmp(6, -7), 42),
        (gif((6, 7), (6, 7)), 84),  # the frame, and what is made of it
        (gif((1, 1), (6, 7), (6, 7), comment=b"two"), 126),
        (gif((1, 1), (6, 1), (1, 7)), 13 + 42),
        (png(65_535, 65_535), 65_535**2),
        (png(1, (1 << 31) - 1), (1 << 31) - 1),
        (jpeg(60_000, 65_000), 60_000 * 65_000),
        (bmp(1 << 30, 1 << 30), 1 << 60),
        (gif((1, 1), *[(65_535, 65_535)] * 10), 11 * 65_535**2),
    ],
)
def test_as_many_pixels_as_there_are(contents, pixels):
    assert passes(contents, pixels)
    assert not passes(contents, pixels - 1)


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"no image",
        png(1 << 31, 1),  # negative as a signed number
        png(0, 5),
        png(9, 9)[:20],
        png(9, 9, before=[(b"note", bytes(13))]),  # the header is not where it has to be
        jpeg(0, 5),
        jpeg(5, 5)[:10],
        bmp(-6, 7),
        bmp(0, 7),
        b"RIFF" + bytes(4) + b"WEBPVP8 " + bytes(92),
        b"\xff\x0a" + bytes(50),  # JPEG XL
    ],
)
def test_no_image(contents):
    assert not passes(contents, 1 << 62)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
def test_images_of_other_programs(kind):
    from PIL import Image

    image = Image.fromarray(np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3))
    buffer = io.BytesIO()
    more = {"save_all": True, "append_images": [image.rotate(90)] * 2} if kind == "GIF" else {}
    image.save(buffer, kind, **more)
    assert passes(buffer.getvalue(), 4 * 600 if kind == "GIF" else 600)
    assert not passes(buffer.getvalue(), 599)


def test_it_holds_in_a_graph():
    checked = tf.function(lambda contents: within(contents, 42))
    for make in (png, jpeg, bmp):
        assert checked(tf.constant(make(6, 7))).numpy() == make(6, 7)
        with pytest.raises(tf.errors.InvalidArgumentError, match="no pixels, or more than 42"):
            checked(tf.constant(make(6, 8)))


def test_files_are_read_within_a_limit(tmp_path):
    (tmp_path / "image").write_bytes(b"content")
    assert read_image(tmp_path / "image") == b"content"
    os.truncate(tmp_path / "image", 3 << 30)
    with pytest.raises(RefusedError, match="it has more than 67,108,864 bytes"):
        read_image(tmp_path / "image")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RefusedError, match="it is no regular file"):
        read_image(tmp_path / "pipe")
