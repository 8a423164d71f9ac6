"""What trials run on."""

import keras
import numpy as np
import pytest

from tfprune.graph.random_inputs import definite_shape, random_array, random_tensor, random_weight


@pytest.mark.parametrize(
    ("shape", "sizes", "expected"),
    [
        ((None, None, 3), (), (2, 6, 3)),
        ((None, 4), (5,), (5, 4)),
        ((7, None), (1, 9), (7, 9)),
        ((), (), ()),
    ],
)
def test_open_axes_get_sizes(shape, sizes, expected):
    assert definite_shape(shape, *sizes) == expected


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_whole_numbers_are_zeros_and_ones(dtype):
    found = random_tensor((40, 5), dtype, np.random.default_rng(0))
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    assert set(np.asarray(found).astype(int).ravel().tolist()) == {0, 1}


def test_numbers_are_normal():
    found = random_array((2000,), "bfloat16", np.random.default_rng(0))
    assert abs(found.mean()) < 0.1
    assert abs(found.std() - 1) < 0.1


def test_weights_of_one_shape_have_values_of_their_own():
    one, other, whole = (
        keras.Variable(np.zeros((3, 4), dtype), name=name)
        for name, dtype in (("query", "float32"), ("value", "float32"), ("seed", "int32"))
    )
    assert not np.array_equal(random_weight(one), random_weight(other))
    np.testing.assert_array_equal(random_weight(one), random_weight(one))
    np.testing.assert_array_equal(random_weight(whole), np.zeros((3, 4)))
    vector = random_weight(keras.Variable(np.zeros(50, "float32"), name="moving_variance"))
    assert vector.min() >= 0.5, "it may be a variance"
