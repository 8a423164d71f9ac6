import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.errors import ConfigError
from tfprune.recipes.data.augmentation import WINDOW_DRAWS as DRAWS
from tfprune.recipes.data.augmentation import (
    jitter_colors,
    random_positions,
    random_window,
    scale_saturation,
)
from tfprune.recipes.data.views import GaussianNoise


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


def test_all_windows_and_both_sides_are_equally_frequent():
    positions = moved(0, batch=5000, views=1, height=4, width=4, padding=1)[:, 0]
    flipped = positions[:, 0, 0] % 4 > positions[:, 0, 3] % 4
    assert abs(flipped.mean() - 0.5) < 0.03
    _, counts = np.unique(positions.reshape(5000, -1), axis=0, return_counts=True)
    assert len(counts) == 18
    assert counts.min() > 200


def test_images_and_views_have_their_own_draws():
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
    images[0, 0, 0] = 100.0  # gray
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


def test_the_formula_of_the_original(golden_biprop):
    """Its noise on our scale, clipped; the draws themselves are TensorFlow's."""
    image = golden_biprop["aug/image"].astype(np.float32)
    noise = golden_biprop["aug/gauss_noise_unit_seed0"].transpose(1, 2, 0)
    expected = golden_biprop["aug/gauss_out_std0.1_seed0"].transpose(1, 2, 0)
    mean, std = np.float32([0.491, 0.482, 0.447]), np.float32([0.247, 0.243, 0.262])
    unit = np.clip(image + 255 * 0.1 * noise, 0, 255) / 255
    assert min(np.abs(expected - unit).max(), np.abs(expected - (unit - mean) / std).max()) < 1e-5


def test_noise_is_clipped_and_spares_some_images():
    flat = tf.fill([200, 16, 16, 3], 127.5)
    seeds = tf.random.stateless_uniform([200, 2], [1, 2], None, None, tf.int32)
    noisy = np.asarray(GaussianNoise(0.1, clean=0.25)(flat, seeds))
    changed = np.any(noisy != 127.5, axis=(1, 2, 3))
    assert 0.65 < changed.mean() < 0.85
    assert np.mean(noisy[changed]) == pytest.approx(127.5, abs=0.5)
    assert np.std(noisy[changed]) == pytest.approx(25.5, rel=0.02)
    assert len({image.tobytes() for image in noisy[changed]}) == changed.sum()
    extreme = GaussianNoise(5.0)(flat[:2], seeds[:2])
    assert (np.min(extreme), np.max(extreme)) == (0, 255)
    np.testing.assert_array_equal(GaussianNoise(0.1, clean=0.25)(flat[7:9], seeds[7:9]), noisy[7:9])


def test_bad_settings():
    with pytest.raises(ConfigError, match="deviation: expected a number above 0, received 0"):
        GaussianNoise(0)
    with pytest.raises(ConfigError, match="clean: expected a number of at least 0 and at most 1, received 2"):
        GaussianNoise(0.1, clean=2)


def draws_of(areas, ratios, place):
    """Uniform numbers that ask for these areas (as fractions) and ratios first."""
    area = [(area - 0.08) / 0.92 for area in areas]
    ratio = [(math.log(ratio) - math.log(3 / 4)) / (math.log(4 / 3) - math.log(3 / 4)) for ratio in ratios]
    return tf.constant([*area, *ratio, *place], tf.float32)


def test_first_try_that_fits():
    # 0.9 of 100 x 400 at ratio 1 is 190 rows high: too much. 0.25 at ratio 1 is 100 x 100. The later ones are not used.
    areas, ratios = [0.9, 0.25] + [0.1] * 8, [1.0] * 10
    window = random_window(tf.constant([100, 400]), draws_of(areas, ratios, (0.5, 0.5)))
    assert window.numpy().tolist() == [0, 150, 100, 100]
    wide = random_window(tf.constant([100, 400]), draws_of([0.12] * 10, [4 / 3] * 10, (0.0, 0.999)))
    assert wide.numpy().tolist() == [0, 400 - 80, 60, 80]  # sqrt(4800 * 3 / 4), sqrt(4800 * 4 / 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((100, 1000), [0, 433, 100, 133]), ((1000, 100), [433, 0, 133, 100])],
)
def test_middle_where_nothing_fits(size, expected):
    window = random_window(tf.constant(size), draws_of([0.9] * 10, [1.0] * 10, (0.1, 0.1)))
    assert window.numpy().tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 10**6))
def test_inside_the_image(height, width, seed):
    draws = tf.random.stateless_uniform([DRAWS], [seed, 0])
    top, left, rows, columns = random_window(tf.constant([height, width]), draws).numpy().tolist()
    assert rows > 0
    assert columns > 0
    assert 0 <= top <= height - rows
    assert 0 <= left <= width - columns


def reference_areas(generator, count):
    """Areas that torchvision's rule gives for a square, with rejection one by one."""
    areas = []
    while len(areas) < count:
        area, ratio = generator.uniform(0.08, 1), math.exp(generator.uniform(math.log(3 / 4), math.log(4 / 3)))
        if max(math.sqrt(area * ratio), math.sqrt(area / ratio)) <= 1:
            areas.append(area)
    return np.array(areas)


def test_distribution():
    def windows(draws):
        return tf.map_fn(lambda row: random_window(tf.constant([500, 500]), row), draws, fn_output_signature=tf.int32)

    top, left, rows, columns = tf.function(windows)(tf.random.stateless_uniform([4000, DRAWS], [1, 2])).numpy().T
    areas, ratios = rows * columns / 500**2, np.log(columns / rows)
    expected = reference_areas(np.random.default_rng(0), 4000)
    np.testing.assert_allclose(
        np.quantile(areas, [0, 0.25, 0.5, 0.75, 1]), np.quantile(expected, [0, 0.25, 0.5, 0.75, 1]), atol=0.025
    )
    assert np.abs(ratios).max() == pytest.approx(math.log(4 / 3), abs=0.01)
    assert ratios.mean() == pytest.approx(0, abs=0.01)
    assert np.mean(top[rows < 250] / (500 - rows[rows < 250])) == pytest.approx(0.5, abs=0.03)
    assert np.mean(left[columns < 250] / (500 - columns[columns < 250])) == pytest.approx(0.5, abs=0.03)
