"""How many weights a density keeps, against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfprune.ops.density import at_most, kept_count, original_kept_count

TRACED = tf.function(kept_count, reduce_retracing=True)
SIZES = (1, 7, 10, 50, 100, 200, 999, 1000, 10_000, 50_000, 270_896, 11_164_352, 2_000_000_000)


def exact(size, density):
    return max(1, size - int((1 - Fraction(density)) * size))


@pytest.mark.parametrize("size", SIZES)
def test_hundredths_and_thousandths_are_exact(size):
    for digits in (2, 3):
        for number in range(1, 10**digits + 1):
            density = Fraction(number, 10**digits)
            assert kept_count(size, float(density)) == exact(size, density), density


@given(size=st.integers(1, 10**8), number=st.integers(1, 10**6))
def test_up_to_six_digits_and_their_complements_are_exact(size, number):
    density = Fraction(number, 10**6)
    expected = exact(size, density)
    assert kept_count(size, number / 10**6) == expected
    assert kept_count(size, 1 - (10**6 - number) / 10**6) == expected
    assert int(kept_count(size, tf.constant(number / 10**6, tf.float64))) == expected


@given(whole=st.integers(1, 10**9), number=st.integers(0, 10**6))
def test_budgets_are_exact(whole, number):
    expected = int(Fraction(number, 10**6) * whole)
    assert at_most(whole, number / 10**6) == expected
    assert at_most(whole, 1 - (10**6 - number) / 10**6) == expected


def test_in_traced_functions():
    for density in (0.9, 0.55, 1 - 0.7, 0.001, 1.0):
        found = TRACED(tf.constant(100), tf.constant(density, tf.float64))
        assert (int(found), found.dtype) == (kept_count(100, density), tf.int32)


def test_examples():
    assert [kept_count(100, density) for density in (0.9, 0.8, 0.7, 0.56, 0.55, 0.34)] == [90, 80, 70, 56, 55, 34]
    assert kept_count(10, np.float64(0.9)) == 9
    assert kept_count(3, 1e-9) == 1
    assert original_kept_count(100, 0.9) == 91
