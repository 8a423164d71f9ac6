"""Exactly so many largest values."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfprune.ops.largest import largest

JITTED = tf.function(largest, jit_compile=True, reduce_retracing=True)
TRACED = tf.function(largest, reduce_retracing=True)


def expected(values, count):
    mask = np.zeros(len(values), bool)
    mask[np.argsort(-values, kind="stable")[:count]] = True
    return mask


@settings(deadline=None, max_examples=200)
@given(
    hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(0, 2**100, width=32, allow_subnormal=False)),
    st.data(),
)
def test_equals_a_stable_sort(values, data):
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
