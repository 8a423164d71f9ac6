"""Arrays of `.npz` files are checked before they are read."""

import io
import os
import zipfile

import ml_dtypes
import numpy as np
import pytest

from tfprune.errors import CheckpointError
from tfprune.reading import Expected, RefusedError, open_arrays, reading


def read(path, lengths=None, **expected):
    with open_arrays(path, lengths) as file:
        return file.read(expected)


def refusal(path, lengths=None, **expected):
    with pytest.raises(RefusedError) as caught:
        read(path, lengths, **expected)
    return str(caught.value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.npz"


def raw(path, header, content=b"", version=(1, 0)):
    """Writes an archive with an array `a` whose header is any text."""
    text = header.encode()
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\x93NUMPY" + bytes(version) + length + text + content)


def header(shape="(2,)", descr="'<f4'", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_is_read_is_what_was_written(path, save):
    turned = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    written = {
        "matrix": turned,
        "swapped": np.array([1, 2], ">f4"),
        "whole": np.array(-(2**62)),
        "flags": np.array([[True], [False]]),
        "text": np.array(["ä", "", "c" * 100]),
        "one": np.array("ü"),
        "empty": np.zeros((0, 5), np.float16),
    }
    save(path, **written, other=np.array([None]))
    found = read(
        path,
        matrix=Expected(axes="rows columns"),
        swapped=Expected(axes="rows"),
        whole=Expected("whole numbers"),
        flags=Expected("flags", "rows one"),
        text=Expected("text", "names"),
        one=Expected("whole numbers or text", choices=("ü",)),
        empty=Expected("values", "..."),
        missing=Expected(optional=True),
    )
    assert set(found) == set(written)
    for name, array in found.items():
        np.testing.assert_array_equal(array, written[name])
        assert array.dtype == written[name].dtype.newbyteorder("=")
        assert array.dtype.isnative
        assert array.flags.writeable
    with open_arrays(path) as file:
        assert set(file.names) == {*written, "other"}


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (Expected("whole numbers", "a b"), "its array 'x' has the type float64, expected whole numbers"),
        (Expected("flags", "a b"), "its array 'x' has the type float64, expected flags"),
        (Expected("text", "a b"), "its array 'x' has the type float64, expected text"),
        (Expected(), "its array 'x' has the shape [2, 3], expected []"),
        (Expected(axes="a"), "its array 'x' has the shape [2, 3], expected [a]"),
        (Expected(axes="a a"), "its array 'x' has the shape [2, 3], expected [a = 2, a = 2]"),
        (Expected(axes="a known"), "its array 'x' has the shape [2, 3], expected [a = 2, known = 4]"),
        (Expected(axes="a b", least=1), "its array 'x' has numbers below 1"),
    ],
)
def test_arrays_of_another_kind_are_named(path, expected, said):
    np.savez(path, x=np.arange(6.0).reshape(2, 3))
    assert refusal(path, {"known": 4}, x=expected) == said


def test_axes_of_one_name_have_one_length(path):
    np.savez(path, x=np.ones((2, 3)), y=np.ones(3), z=np.ones((0, 3)))
    assert refusal(path, x=Expected(axes="a b"), y=Expected(axes="a")).endswith("shape [3], expected [a = 2]")
    assert refusal(path, z=Expected(axes="a b")) == "its array 'z' is empty"
    assert set(read(path, x=Expected(axes="a b"), y=Expected(axes="b"))) == {"x", "y"}


def test_values_that_are_not_numbers(path):
    np.savez(path, a=np.array([1, np.nan]), b=np.array(1e39), c=np.array("maybe"))
    axis = Expected(axes="n")
    assert refusal(path, a=axis) == "its array 'a' has NaN or infinite numbers"
    assert refusal(path, b=Expected()) == "its array 'b' has numbers beyond float32"
    assert refusal(path, c=Expected("text", choices=("yes", "no"))) == "its array 'c' is 'maybe', expected yes, no"
    assert refusal(path, d=axis) == "it has no array 'd'"
    found = read(path, a=Expected(axes="n", finite=False), b=Expected(finite=False))
    np.testing.assert_array_equal(found["a"], [1, np.nan])
    assert found["b"] == 1e39


@pytest.mark.parametrize(
    "array",
    [
        np.array([None]),
        np.array([b"a"]),
        np.zeros(1, [("x", "f4")]),
        np.array(["2026"], "M8[D]"),
        np.zeros(1, np.complex64),
        np.zeros(1, np.longdouble),
        np.zeros(1, ml_dtypes.bfloat16),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_of_other_types_than_numbers(path, array):
    np.savez(path, a=array)
    assert refusal(path, a=Expected("values or text", "...")).startswith("its array 'a' has the type ")


def test_nothing_is_executed(path, tmp_path):
    class Touch:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'hacked'}",)

    np.savez(path, a=np.array([Touch()], object))
    assert "has the type object" in refusal(path, a=Expected("values", "..."))
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    "text",
    [
        header("(2**40,)"),
        header("(-1,)"),
        header("(-2, -1)"),
        header("(2, 2, 2)"),
        header("(1,) * 2"),
        header("(0,)"),
        header("(0, 4611686018427387904)"),
        header("(4611686018427387904, 4611686018427387904)"),
        header("[2]"),
        header("(2.0,)"),
        header("2"),
        header(descr="'|O'"),
        header(descr="'<U500000000'"),
        header(descr="'<V2000000000'"),
        header(descr="[('a', '<f4', (100000, 100000))]"),
        header(descr="('<f4', (100000, 100000))"),
        header(descr="'f4,f4'"),
        header(descr="'no such type'"),
        header(descr="7"),
        header(order="None"),
        "(" * 5000,
        "[" * 90 + "]" * 90,
        "-" * 9000 + "1",
        "{}",
        "'\\d'",
        "",
        "\0",
        header() + " " * 60_000,
        "__import__('os')",
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0), (9, 9)])
def test_headers_of_any_text_are_one_line(path, text, version, recwarn):
    raw(path, text, bytes(8), version)
    with pytest.raises(CheckpointError) as caught, reading(path, "an array"), open_arrays(path) as file:
        file.read({"a": Expected("values", "a")})
    said = str(caught.value)
    assert said.startswith(f"cannot read {path}: expected an array, ")
    assert len(said) < 400 + len(str(path))
    assert said.isprintable()
    assert not recwarn.list


def test_a_header_that_is_right_is_read(path):
    for version in ((1, 0), (2, 0)):
        raw(path, header(), np.array([1, 2], "<f4").tobytes(), version)
        np.testing.assert_array_equal(read(path, a=Expected(axes="a"))["a"], [1, 2])


def test_text(path):
    raw(path, header("()", "'<U1'"), b"\xff\xff\xff\xff")
    assert refusal(path, a=Expected("text")) == "its array 'a' has text of no letters"
    raw(path, header("()", "'<U1'"), (0xD800).to_bytes(4, "little"))  # half of a pair
    assert refusal(path, a=Expected("text")) == "its array 'a' has text of no letters"
    np.savez_compressed(path, a=np.full(100_000, "x"))
    assert refusal(path, a=Expected("text", "a")) == "its array 'a' has more than 65,536 texts"


def test_every_cut_and_every_changed_byte_is_one_line_or_the_same_numbers(path, tmp_path):
    np.savez_compressed(path, weights=np.arange(12.0).reshape(3, 4), name=np.array("erf"))
    whole, other = path.read_bytes(), tmp_path / "b.npz"
    expected = {"weights": Expected(axes="a b"), "name": Expected("text", optional=True)}
    rng = np.random.default_rng(0)
    changes = [whole[:size] for size in range(len(whole))]
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        changes.append(bytes(damaged))
    refused = 0
    for content in changes:
        other.write_bytes(content)
        try:
            with reading(other, "a student"), open_arrays(other) as file:
                found = file.read(expected)
        except CheckpointError as error:
            assert str(error).isprintable()  # noqa: PT017
            refused += 1
        else:
            np.testing.assert_array_equal(found["weights"], np.arange(12.0).reshape(3, 4))
            assert found.get("name", "erf") == "erf"
    assert refused > len(whole) * 3 // 2


def test_pipes_and_folders(path):
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="it is no regular file"), reading(path, "masks"), open_arrays(path):
        pass
    with (
        pytest.raises(CheckpointError, match="it is a folder"),
        reading(path.parent, "masks"),
        open_arrays(path.parent),
    ):
        pass


def test_members_that_are_no_arrays_are_not_seen(path):
    np.savez(path, a=np.ones(1))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "text")
        archive.writestr("b.npy", b"no array")
    assert read(path, a=Expected(axes="n"))["a"] == 1
    with pytest.raises(ValueError, match="magic"):
        read(path, b=Expected())
    buffer = io.BytesIO()
    np.save(buffer, np.ones(2))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", buffer.getvalue() + b"more")
    assert "longer or shorter than its shape (2,) says" in refusal(path, a=Expected(axes="n"))
