"""Weights of files are finite numbers within float32."""

import ml_dtypes
import numpy as np
import pytest

from tfprune.reading import RefusedError, check_weights


@pytest.mark.parametrize("kind", ["?", "u1", "i8", "u8", "f2", "f4", ">f4", "f8", ml_dtypes.bfloat16])
def test_numbers_of_any_type(kind):
    check_weights({"a": np.array([0, 1], kind), "b": np.array(1, kind), "nothing": np.zeros((0, 3), kind)})


def test_the_largest_numbers_of_each_type():
    check_weights({"a": np.array([-(2**63), 2**63 - 1]), "b": np.finfo("f4").max * np.array([-1.0, 1.0])})


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([0, np.nan], "f4"), "has NaN or infinite numbers"),
        (np.array([[np.inf]], "f2"), "has NaN or infinite numbers"),
        (np.array(-np.inf), "has NaN or infinite numbers"),
        (np.array([np.nan], ml_dtypes.bfloat16), "has NaN or infinite numbers"),
        (np.array([1, 3.5e38]), "has numbers beyond float32"),
        (np.array([-1e300]), "has numbers beyond float32"),
        (np.array([1j]), "has the type complex128, which is none of numbers"),
        (np.array([None]), "has the type object, which is none of numbers"),
        (np.array(["1"]), "has the type str32, which is none of numbers"),
        (np.zeros(2, [("x", "f4")]), "has the type void32, which is none of numbers"),
        (np.array(["2026"], "M8[D]"), r"has the type datetime64\[D\], which is none of numbers"),
    ],
)
def test_the_first_array_of_others_is_named(array, said):
    with pytest.raises(RefusedError, match=f"^its array 'b' {said}$"):
        check_weights({"a": np.ones(2), "b": array, "c": np.array(np.nan)})


def test_names_of_any_length_and_letters():
    with pytest.raises(RefusedError) as caught:
        check_weights({"\x1b[2J\n" + "a" * 1000: np.array(np.nan)})
    assert len(str(caught.value)) < 100
    assert str(caught.value).isprintable()
