import io

import numpy as np
import pytest
import tensorflow as tf

from tests.recipes.data.image_bytes import black_png, bmp, gif, jpeg, png
from tfprune.recipes.data.decoding import decode_center, decode_window


def smooth(height, width, seed=0):
    """An image without sharp edges, `[height, width, 3]`, uint8."""
    coarse = tf.random.stateless_uniform([5, 6, 3], [seed, 1], 40, 215)
    return tf.saturate_cast(tf.image.resize(coarse, [height, width], "bicubic"), tf.uint8)


@pytest.mark.parametrize(
    "window", [(3, 5, 40, 50), (0, 0, 200, 260), (16, 24, 96, 64), (8, 0, 160, 256), (7, 9, 20, 21)]
)
@pytest.mark.parametrize("encode", [tf.io.encode_png, lambda image: tf.io.encode_jpeg(image, quality=98)])
def test_window_is_cut_out_and_scaled(encode, window):
    image = smooth(200, 260)
    top, left, height, width = window
    asked = []

    def place(size):
        asked.append(size.shape.rank or int(tf.size(size)))
        tf.debugging.assert_equal(size, [200, 260])
        return tf.constant(window)

    found = tf.function(lambda contents: decode_window(contents, place, 24))(encode(image))
    expected = tf.image.resize(image[top : top + height, left : left + width], [24, 24], antialias=True)
    assert found.shape == (24, 24, 3)
    difference = np.abs(found - expected)
    assert difference.mean() < 2  # a shift by a pixel of the result makes more than 4
    assert difference.max() < 12
    assert asked


def test_large_parts_are_averaged_not_sampled():
    """Stripes of one pixel become gray where the blocks of a JPEG image are decoded at a part of the resolution."""
    stripes = tf.tile(tf.constant([[[0], [255]]], tf.uint8), [128, 64, 3])
    found = decode_window(tf.io.encode_jpeg(stripes, quality=100), lambda size: tf.constant([0, 0, 128, 128]), 32)
    np.testing.assert_allclose(found, 127.5, atol=2)


@pytest.mark.parametrize("size", [(120, 90), (90, 121), (64, 64)])
def test_center(size):
    from PIL import Image

    image = smooth(*size)
    found = decode_center(tf.io.encode_png(image), 56, 64)
    short = min(size)
    height, width = (64 * side // short for side in size)
    resized = np.asarray(Image.fromarray(image.numpy()).resize((width, height), Image.Resampling.BILINEAR), np.float32)
    top, left = round((height - 56) / 2 + 1e-6), round((width - 56) / 2 + 1e-6)
    np.testing.assert_allclose(found, resized[top : top + 56, left : left + 56], atol=1.1)


def test_gray_images_get_three_channels():
    gray = smooth(40, 40)[..., :1]
    for contents in (tf.io.encode_png(gray), tf.io.encode_jpeg(gray)):
        for found in (
            decode_center(contents, 32, 32),
            decode_window(contents, lambda size: tf.constant([0, 0, 9, 9]), 32),
        ):
            assert found.shape == (32, 32, 3)
            np.testing.assert_array_equal(found[..., 0], found[..., 2])


def whole(contents):
    return decode_window(contents, lambda size: tf.concat([[0, 0], size], 0), 8)


def center(contents):
    return decode_center(contents, 8, 8)


@pytest.mark.parametrize("decode", [whole, center])
@pytest.mark.parametrize("contents", [png(9000, 9000), jpeg(9000, 9000), bmp(9000, 9000), gif((1, 1), (9000, 9000))])
def test_images_of_more_pixels_than_there_may_be(decode, contents):
    with pytest.raises(tf.errors.InvalidArgumentError, match="no pixels, or more than 67,108,864"):
        decode(tf.constant(contents))
    with pytest.raises(tf.errors.InvalidArgumentError, match="no pixels, or more than 67,108,864"):
        tf.function(decode)(tf.constant(contents))


@pytest.mark.parametrize("turned", [False, True])
def test_lines_are_not_scaled(turned):
    """One pixel by 130 is scaled to 256 by 33,280, by more to more than memory holds."""
    for length, fits in ((127, True), (128, False)):
        contents = black_png(length, 1) if turned else black_png(1, length)
        if fits:
            assert np.all(decode_center(contents, 256, 256) == 0)
        else:
            with pytest.raises(tf.errors.InvalidArgumentError, match="a side 128 times as long as the other"):
                decode_center(contents, 256, 256)
        assert np.all(whole(contents) == 0)


def test_the_first_frame_of_a_gif():
    from PIL import Image

    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    for decode in (whole, center):
        np.testing.assert_allclose(decode(buffer.getvalue())[4, 4], [255, 0, 0], atol=1e-3)
