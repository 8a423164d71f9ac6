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

from tfprune.errors import CheckpointError
from tfprune.reading.pickle_reader import PickleReader, RefusedPickleError
from tfprune.reading.pickles import ARRAYS, PickledArray, read_pickled_arrays


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


def small(value):
    return b"X" + struct.pack("<I", len(value)) + value


NUMBERS = b"cnumpy.core.numeric\n_frombuffer\n(C\x04abcdcnumpy\ndtype\n" + small(b"f4") + b"\x85R"


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02})" + b"\x85" * 9000 + b"K\x01s.",  # a key of tuples within tuples
        b"\x80\x02}(K\x01K\x02t" + b"q\x00h\x00\x86" * 60 + b"K\x01s.",  # a key that is itself twice, sixty times
        b"\x80\x02}" + small(b"a") + NUMBERS + b"(K\x01t" + b"q\x00h\x00\x86" * 60 + small(b"C") + b"tRs.",
        b"\x80\x02}" + small(b"a") + b"cnumpy\nndarray\n)\x81s.",  # an array that is never made
        b"\x80\x02}\x8b" + struct.pack("<i", 3000) + b"\x7f" * 3000 + b"K\x01s.",  # a key of thousands of digits
        b"\x80\x02}r" + struct.pack("<I", 3 << 30) + b"K\x01s.",  # a place in the memo for gigabytes
        b"\x80\x02}" + small(b"a") + NUMBERS + b"(" + b"\x8a\x08" + b"\x7f" * 8 * 60 + b"t" + small(b"C") + b"tRs.",
        b"\x80\x02}" + b"\x8c\x01aK\x01s" * 1000,  # no end
        b"\x80\x02]" + b"q\x00h\x00a" * 1000 + b".",  # a list of itself
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
        b"\x80\x02}" + small(b"a") + b"cnumpy\ndtype\n" + small(b"f4") + b"\x85Rs.",
        b"\x80\x02}" + small(b"a") + b"cnumpy\ndtype\n" + small(b"f4") + b"\x85RNbs.",
        b"",
    ],
)
def test_small_pickles_cost_little_and_are_one_line(content, tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_pickled_arrays(path)
    said = str(caught.value)
    assert said.startswith(f"cannot read {path}: expected a pickled dictionary of arrays, ")
    assert said.isprintable()
    assert len(said) < 400 + len(str(path))


def test_every_cut_and_every_changed_bit_is_one_line_or_arrays(tmp_path):
    path = tmp_path / "a.pkl"
    whole = pickle.dumps({"a": np.arange(3.0), "b": np.ones((2, 1), np.float32)}, protocol=2)
    changes = [whole[:size] for size in range(len(whole))]
    for place in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            changes.append(bytes(changed))
    refused = 0
    for content in changes:
        path.write_bytes(content)
        try:
            found = read_pickled_arrays(path)
        except CheckpointError as error:
            assert str(error).isprintable()  # noqa: PT017
            refused += 1
        else:
            assert all(isinstance(array, np.ndarray) and array.dtype.kind in "biuf" for array in found.values())
    assert refused > len(changes) // 2


def test_pipes(tmp_path):
    os.mkfifo(tmp_path / "a.pkl")
    with pytest.raises(CheckpointError, match="it is no regular file"):
        read_pickled_arrays(tmp_path / "a.pkl")
