import numpy as np
import pytest
import tensorflow as tf

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
