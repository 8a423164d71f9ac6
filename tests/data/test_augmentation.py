import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.data.augmentation import jitter_colors, random_positions, scale_saturation


def moved(seed, *, batch=6, views=2, height=5, width=7, padding=2, flip=True):
    return random_positions(
        tf.constant([seed, 0], tf.int64),
        batch=batch,
        views=views,
        height=height,
        width=width,
        padding=padding,
        flip=flip,
    ).numpy()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(4, 8), st.integers(4, 8), st.integers(0, 3), st.booleans())
def test_every_view_is_a_window_of_the_padded_image_mirrored_or_not(seed, height, width, padding, flip):
    image = np.arange(height * width).reshape(height, width)
    sources = [image, image[:, ::-1]] if flip else [image]
    windows = {
        np.pad(source, padding, mode="reflect")[top : top + height, left : left + width].tobytes()
        for source in sources
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    }
    positions = moved(seed, height=height, width=width, padding=padding, flip=flip)
    for view in image.ravel()[positions].reshape(-1, height, width):
        assert view.tobytes() in windows


def test_all_windows_and_both_sides_come_up_equally_often():
    positions = moved(0, batch=5000, views=1, height=4, width=4, padding=1)[:, 0]
    flipped = positions[:, 0, 0] % 4 > positions[:, 0, 3] % 4
    assert abs(flipped.mean() - 0.5) < 0.03
    _, counts = np.unique(positions.reshape(5000, -1), axis=0, return_counts=True)
    assert len(counts) == 18
    assert counts.min() > 200


def test_images_and_views_have_draws_of_their_own():
    positions = moved(1, batch=64, views=2)
    assert len(np.unique(positions[:, 0].reshape(64, -1), axis=0)) > 20
    same = np.mean([np.array_equal(a, b) for a, b in positions])
    assert same < 0.2


def test_without_padding_and_flip_nothing_moves():
    positions = moved(3, padding=0, flip=False)
    np.testing.assert_array_equal(positions, np.broadcast_to(np.arange(35).reshape(5, 7), positions.shape))


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.2, 3.0])
def test_saturation_equals_that_of_tensorflow(factor):
    images = np.random.default_rng(0).uniform(-30, 280, (4, 6, 6, 3)).astype(np.float32)
    images[0, 0, 0] = 100.0  # grey
    np.testing.assert_allclose(
        scale_saturation(images, tf.constant(factor)), tf.image.adjust_saturation(images, factor), atol=1e-3
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_is_contrast_then_saturation_with_factors_per_view(channels):
    draw = np.random.default_rng(0)
    images = draw.uniform(0, 255, (3, 2, 4, 4, channels)).astype(np.float32)
    means = draw.uniform(100, 150, (3, 1, 1, 1, channels)).astype(np.float32)
    seed = tf.constant([5, 6], tf.int64)
    jittered = jitter_colors(images, means, seed).numpy()
    seeds = tf.random.split(seed, 2)
    contrast = tf.random.stateless_uniform([3, 2, 1, 1, 1], seeds[0], 0.8, 1.2)
    saturation = tf.random.stateless_uniform([3, 2, 1, 1, 1], seeds[1], 0.8, 1.2)
    expected = ((images - means) * contrast + means).numpy()
    if channels == 3:
        for image in np.ndindex(3, 2):
            expected[image] = tf.image.adjust_saturation(expected[image], float(saturation[image][0, 0, 0]))
    np.testing.assert_allclose(jittered, expected, atol=1e-3)
    assert len(np.unique(contrast)) == len(np.unique(saturation)) == 6
    assert not np.allclose(contrast, saturation)
