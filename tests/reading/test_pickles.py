import io
import os
import pickle
import struct
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfprune.reading.pickle_reader import PickleReader, RefusedPickleError
from tfprune.reading.pickles import ARRAYS, PickledArray


def load(content):
    return PickleReader(ARRAYS, limit=len(content)).load(io.BytesIO(content))


arrays = hnp.arrays(
    st.sampled_from(["<f4", ">f4", "<f2", "<f8", "<i8", ">i2", "u1", "?"]),
    hnp.array_shapes(min_dims=0, max_dims=4, max_side=4),
)


@given(arrays, st.integers(0, 5), st.booleans())
def test_arrays_are_read(array, protocol, fortran):
    array = np.asfortranarray(array) if fortran else array
    loaded = load(pickle.dumps({"a": array}, protocol=protocol))["a"]
    assert isinstance(loaded, PickledArray)
    assert loaded.value.dtype == array.dtype
    assert loaded.value.shape == array.shape
    np.testing.assert_array_equal(loaded.value, array)


@pytest.mark.parametrize("protocol", range(6))
def test_modules_of_old_numpy_are_known(protocol):
    content = pickle.dumps(np.arange(3.0), protocol=protocol)
    assert b"numpy._core" in content
    if protocol >= 4:  # names carry their length there
        new = content.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
        new = new.replace(b"\x8c\x13numpy._core.numeric", b"\x8c\x12numpy.core.numeric")
        start = new.index(b"\x95") + 1
        new = new[:start] + struct.pack("<Q", len(new) - start - 8) + new[start + 8 :]
    else:
        new = content.replace(b"numpy._core", b"numpy.core")
    np.testing.assert_array_equal(load(new).value, np.arange(3.0))


class Asks:
    """Pickles into a call of anything."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("call", [os.system, eval, exec, getattr, partial, np.load, io.open, pickle.loads])
def test_calls_are_refused_and_not_made(call, protocol, tmp_path):
    trace = tmp_path / "trace"
    content = pickle.dumps({"a": Asks(call, f"touch {trace}")}, protocol=protocol)
    with pytest.raises(RefusedPickleError, match=call.__name__):
        load(content)
    assert not trace.exists()


def test_calls_are_refused_in_all_ways_to_call():
    for content in (
        b"cos\nsystem\n(S'true'\ntR.",
        b"(ios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"\x80\x02cos\nsystem\n)\x81.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nfromfile\n.",
    ):
        with pytest.raises(RefusedPickleError):
            load(content)
    with pytest.raises(RefusedPickleError, match="outside"):
        load(b"Psomething\n.")


def test_names_are_printed_harmlessly():
    with pytest.raises(RefusedPickleError) as raised:
        load(b"\x80\x04\x8c\x07os\n\x1b[2J\x8c\x06system\x93.")
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "array",
    [
        np.array([None, 1], object),
        np.array([Asks(os.system, "true")], object),
        np.array(["a"]),
        np.array([b"a"]),
        np.zeros(2, [("x", "f4"), ("y", "i4")]),
        np.array(["2020-01-01"], "M8[D]"),
        np.zeros(2, np.complex64),
    ],
    ids=lambda array: str(array.dtype),
)
def test_other_arrays_than_of_numbers_are_refused(array):
    with pytest.raises(RefusedPickleError):
        load(pickle.dumps(array))


def test_wrong_types_are_refused():
    honest = pickle.dumps(np.zeros(4, np.float32), protocol=2)
    assert load(honest).value.shape == (4,)
    for old, new in (
        (b"K\x04\x85", b"K\x05\x85"),  # more elements than bytes
        (b"f4", b"O8"),
        (b"f4", b"V8"),
        (b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x00!"),
    ):
        assert old in honest
        with pytest.raises(RefusedPickleError):
            load(honest.replace(old, new))


def test_the_reader_cannot_be_changed_by_a_file():
    for name in (b"cnumpy.core.multiarray\n_reconstruct\n", b"c_codecs\nencode\n", b"cnumpy\nndarray\n"):
        with pytest.raises((RefusedPickleError, TypeError)):
            load(name + b"}S'fill'\nNsb.")
    np.testing.assert_array_equal(load(pickle.dumps(np.arange(3))).value, np.arange(3))
