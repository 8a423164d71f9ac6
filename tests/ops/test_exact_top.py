import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfprune.ops.exact_top import above_kth, exact_top, exact_top_of_array

TOP = {jit: tf.function(exact_top, jit_compile=jit, reduce_retracing=True) for jit in (False, True)}
ABOVE = {jit: tf.function(above_kth, jit_compile=jit, reduce_retracing=True) for jit in (False, True)}
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, 1e-30, -1e30]


def scores_of(dtype):
    width = 8 * np.dtype(dtype).itemsize
    numbers = st.floats(width=width, allow_nan=False, allow_subnormal=False)
    return hnp.arrays(dtype, st.integers(1, 40), elements=st.one_of(st.sampled_from(SPECIAL).map(dtype), numbers))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(deadline=None, max_examples=150)
@given(st.data())
def test_equals_a_stable_sort(dtype, data):
    scores = data.draw(scores_of(dtype))
    kept = data.draw(st.integers(0, len(scores)))
    mask = TOP[False](scores, kept).numpy()
    np.testing.assert_array_equal(mask, exact_top_of_array(scores, kept))
    assert mask.sum() == kept


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(deadline=None, max_examples=100)
@given(st.data())
def test_above_the_kth(dtype, data):
    scores = data.draw(scores_of(dtype))
    pruned = data.draw(st.integers(0, len(scores)))
    expected = scores > np.sort(scores)[pruned - 1] if pruned else np.ones(len(scores), bool)
    np.testing.assert_array_equal(ABOVE[False](scores, pruned), expected)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.normal(size=n),
        lambda rng, n: rng.exponential(size=n) ** 20,
        lambda rng, n: rng.integers(-2, 3, n),
        lambda rng, n: np.zeros(n),
        lambda rng, n: np.where(rng.random(n) < 0.9, -3.4e38, rng.random(n)),
    ],
    ids=["normal", "wide", "ties", "equal", "mostly pruned"],
)
def test_many_scores(jit, dtype, draw):
    scores = draw(np.random.default_rng(0), 20_000).astype(dtype)
    for kept in (0, 1, 777, 10_000, 19_999, 20_000):
        np.testing.assert_array_equal(TOP[jit](scores, kept), exact_top_of_array(scores, kept))
        assert ABOVE[jit](scores, 20_000 - kept).numpy().sum() <= kept


def test_neighbouring_doubles_are_told_apart():
    scores = np.nextafter(1.0, [0.0, 2.0]).repeat(3)
    scores[1] = 1.0
    np.testing.assert_array_equal(exact_top(scores, 3), [False, False, False, True, True, True])
    np.testing.assert_array_equal(exact_top(scores, 4), [False, True, False, True, True, True])
