import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.data.random_window import DRAWS, random_window


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
