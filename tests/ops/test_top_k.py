"""Exactly so many largest values."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfprune.ops import top_k as module
from tfprune.ops.top_k import above_kth, above_kth_of_all, exact_top, exact_top_of_all, exact_top_of_array, largest

TOP = tf.function(exact_top, reduce_retracing=True)
ABOVE = tf.function(above_kth, reduce_retracing=True)
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, 1e-30, -1e30]
JITTED = tf.function(largest, jit_compile=True, reduce_retracing=True)
TRACED = tf.function(largest, reduce_retracing=True)


def scores_of(dtype):
    width = 8 * np.dtype(dtype).itemsize
    numbers = st.floats(width=width, allow_nan=False, allow_subnormal=False)
    return hnp.arrays(dtype, st.integers(1, 40), elements=st.one_of(st.sampled_from(SPECIAL).map(dtype), numbers))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_exact_top_equals_a_stable_sort(dtype, data):
    scores = data.draw(scores_of(dtype))
    kept = data.draw(st.integers(0, len(scores)))
    mask = TOP(scores, kept).numpy()
    np.testing.assert_array_equal(mask, exact_top_of_array(scores, kept))
    assert mask.sum() == kept


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_above_the_kth(dtype, data):
    scores = data.draw(scores_of(dtype))
    pruned = data.draw(st.integers(0, len(scores)))
    expected = scores > np.sort(scores)[pruned - 1] if pruned else np.ones(len(scores), bool)
    np.testing.assert_array_equal(ABOVE(scores, pruned), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.normal(size=n),
        lambda rng, n: 1e-30 + rng.exponential(size=n) ** 20,
        lambda rng, n: rng.integers(-2, 3, n),
        lambda rng, n: np.zeros(n),
        lambda rng, n: np.where(rng.random(n) < 0.9, -3.4e38, rng.random(n)),
    ],
    ids=["normal", "wide", "ties", "equal", "mostly pruned"],
)
def test_many_scores(dtype, draw):
    size = 70_000
    scores = draw(np.random.default_rng(0), size).astype(dtype)
    for kept in (0, 777, size // 2, size):
        np.testing.assert_array_equal(TOP(scores, kept), exact_top_of_array(scores, kept))
        assert ABOVE(scores, size - kept).numpy().sum() <= kept


@pytest.mark.parametrize("size", [65_537, 65_600, 100_001])
def test_a_sample_that_misleads(size):
    """All large scores stand where the sample looks, or none of them."""
    stride = size // 16_384 | 1
    for looked_at in (True, False):
        scores = np.random.default_rng(0).random(size)
        scores[(np.arange(size) % stride == 0) == looked_at] += 1
        for kept in (size // 10, size // 2, size - size // 10):
            np.testing.assert_array_equal(TOP(scores, kept), exact_top_of_array(scores, kept))


@pytest.mark.parametrize("pruned", [0.3, 0.699, 0.71])
def test_few_scores_are_looked_at_where_many_are_pruned(monkeypatch, pruned):
    """As in the iterations of SynFlow: all that were pruned before lie below the threshold, at one value."""
    scores = np.random.default_rng(0).random(200_000)
    scores[np.random.default_rng(1).random(200_000) < pruned] = np.finfo(np.float64).min
    seen = []
    count = module._ordered_integers
    monkeypatch.setattr(module, "_ordered_integers", lambda some: seen.append(len(some)) or count(some))
    np.testing.assert_array_equal(exact_top(scores, 56_000), exact_top_of_array(scores, 56_000))
    assert seen[0] < 0.1 * len(scores)


@pytest.mark.parametrize("values", [1000, 3])
def test_several_vectors_are_like_one(values):
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, values, size).astype(np.float64) for size in (30_000, 1, 50_000, 777)]
    whole = np.concatenate(parts)
    for kept in (0, 100, 40_000, len(whole)):
        masks = exact_top_of_all(parts, kept)
        assert [len(mask) for mask in masks] == [len(part) for part in parts]
        np.testing.assert_array_equal(np.concatenate(masks), exact_top_of_array(whole, kept))
        above = above_kth_of_all(parts, len(whole) - kept)
        np.testing.assert_array_equal(np.concatenate(above), above_kth(whole, len(whole) - kept))


def test_neighbouring_doubles_are_told_apart():
    scores = np.nextafter(1.0, [0.0, 2.0]).repeat(3)
    scores[1] = 1.0
    np.testing.assert_array_equal(exact_top(scores, 3), [False, False, False, True, True, True])
    np.testing.assert_array_equal(exact_top(scores, 4), [False, True, False, True, True, True])


def expected(values, count):
    mask = np.zeros(len(values), bool)
    mask[np.argsort(-values, kind="stable")[:count]] = True
    return mask


@settings(deadline=None, max_examples=200)
@given(
    hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(0, 2**100, width=32, allow_subnormal=False)),
    st.data(),
)
def test_largest_equals_a_stable_sort(values, data):
    count = data.draw(st.integers(1, len(values)))
    np.testing.assert_array_equal(TRACED(tf.constant(values), tf.constant(count)), expected(values, count))


@pytest.mark.parametrize("function", [TRACED, pytest.param(JITTED, marks=pytest.mark.slow)], ids=["graph", "jit"])
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.uniform(0, 0.01, n),
        lambda rng, n: np.abs(rng.normal(size=n)),
        lambda rng, n: rng.exponential(size=n) ** 9,
        lambda rng, n: rng.integers(0, 5, n),
        lambda rng, n: np.zeros(n),
        lambda rng, n: np.ones(n),
        lambda rng, n: np.where(rng.random(n) < 0.7, 0, rng.random(n)),
        lambda rng, n: np.where(rng.random(n) < 1e-4, 1e30, rng.random(n) * 1e-30),
    ],
    ids=["uniform", "normal", "heavy", "ties", "zeros", "ones", "half_zeros", "far_apart"],
)
def test_many_values(function, draw):
    values = draw(np.random.default_rng(0), 20_000).astype(np.float32)
    for share in (0.0001, 0.2, 0.5, 0.95, 1.0):
        count = int(share * len(values))
        np.testing.assert_array_equal(function(tf.constant(values), tf.constant(count)), expected(values, count))
