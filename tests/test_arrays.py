import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfprune.arrays import array_shape, checked_array, place_in
from tfprune.errors import ConfigError


@pytest.mark.parametrize("kind", ["bool", "uint8", "int64", "uint64", "float16", "float32", "float64", tf.bfloat16])
def test_real_numbers_of_any_format_stay_in_it(kind):
    dtype = tf.as_dtype(kind).as_numpy_dtype
    array = np.array([[0, 1], [1, 0]], dtype)
    assert checked_array(array, "x") is array
    assert checked_array(tf.constant(array), "x").dtype == dtype
    np.testing.assert_array_equal(checked_array(array.tolist(), "x"), array)


class Raising:
    shape = (3,)

    def __array__(self, *args, **kwargs):
        raise RuntimeError("it needs a gradient")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.array([None]), "expected real numbers, received ndarray of type object"),
        (None, "expected real numbers, received NoneType of type object"),
        ({"a": 1}, "expected real numbers, received dict of type object"),
        (np.array(["a"]), "expected real numbers, received ndarray of type <U1"),
        (np.array([1j]), "received ndarray of type complex128"),
        (np.array(["2020-01-01"], "datetime64[D]"), "expected an array of numbers, received ndarray: "),
        (np.zeros(2, [("a", "f4")]), "expected an array of numbers, received ndarray: "),
        ([[1, 2], [3]], "expected an array of numbers, received list: "),
        (Raising(), "received Raising: it needs a gradient"),
        (tf.ragged.constant([[1], [2, 3]]), "expected a dense array, received RaggedTensor"),
        (tf.sparse.from_dense([[1]]), "expected a dense array, received SparseTensor"),
    ],
)
def test_other_things_are_refused(value, said):
    with pytest.raises(ConfigError, match=f"^x: .*{said}") as raised:
        checked_array(value, "x")
    assert "\n" not in str(raised.value)


@given(
    arrays.arrays(np.float64, arrays.array_shapes(max_dims=3, max_side=4), elements=st.floats(width=64)),
    st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_numbers_that_a_format_cannot_hold_are_counted_and_the_first_is_named(array, within):
    with np.errstate(over="ignore"):
        # Numbers that round up to infinity, above the largest one, are the only ones on which the two may differ.
        largest = float(np.finfo(within).max)
        bad = [index for index in np.ndindex(array.shape) if not abs(float(array[index])) <= largest]
    if not bad:
        assert checked_array(array, "x", within=within) is array
        return
    with pytest.raises(ConfigError) as raised:
        checked_array(array, "x", within=within)
    assert f"received {len(bad):,} of {array.size:,} that" in str(raised.value)
    assert f"the first at {list(bad[0])}: " in str(raised.value)
    assert ("beyond" in str(raised.value)) == (within != np.float64)
    assert checked_array(array, "x", finite=False) is array


def test_a_place_counts_the_rows_of_the_whole():
    array = np.ones((5, 2))
    array[3, 1] = np.inf
    with pytest.raises(ConfigError, match=r"the first at \[10, 1\] of batch 4: inf"):
        checked_array(array, "x", place=place_in([1, 4, 7, 10, 13], " of batch 4"))


def test_shapes_are_those_of_arrays_only():
    assert array_shape(np.zeros((2, 3))) == array_shape(tf.zeros([2, 3])) == (2, 3)
    assert array_shape(tf.ragged.constant([[1], [2, 3]])) == (2, None)
    assert [array_shape(value) for value in (3, "x", [1], None, np.ndarray, tf.Tensor)] == [None] * 6
