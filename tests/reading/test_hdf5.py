"""Arrays of HDF5 files are those that h5py reads; whatever Keras does not write is refused."""

import io
import random

import h5py
import keras
import ml_dtypes
import numpy as np
import pytest

from tfprune.reading import RefusedError
from tfprune.reading.hdf5 import read_arrays


def written(write):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        write(file)
    return content.getvalue()


def by_h5py(content):
    arrays = {}
    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return arrays


@pytest.mark.parametrize("kind", ["?", "i1", "u1", "i2", "i4", "u4", "i8", "f2", "f4", "f8", ">f4", ">i4"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4), (0, 3)])
def test_arrays_of_any_type(kind, shape):
    values = (np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2 * 7 - 3).astype(kind)
    found = read_arrays(written(lambda file: file.update({"a/b": values})))["a/b"]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)
    assert found.shape == shape


def test_many_members_and_attributes():
    def write(file):
        for index in range(1500):  # more than one level of the tree of a group
            file[f"group/{index}/vars/0"] = np.full((2, index % 3), index)
        for index in range(40):  # more than the first block of a header
            file["group/7/vars/0"].attrs[f"{index}"] = "x" * 100
            file["group"].attrs[f"{index}"] = "x" * 100
        file.create_group("empty")

    content = written(write)
    found, expected = read_arrays(content), by_h5py(content)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_what_keras_writes(tmp_path):
    layers = [keras.layers.Conv1D(3, 1, dtype="bfloat16"), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4, 4)), *layers])
    model.quantize("int8", filters="dense")
    model.save_weights(tmp_path / "a.weights.h5")
    content = (tmp_path / "a.weights.h5").read_bytes()
    found, expected = read_arrays(content), by_h5py(content)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].tobytes() == values.tobytes()
    assert found["layers/dense/vars/0"].dtype == np.int8
    assert found["layers/conv1d/vars/0"].dtype == ml_dtypes.bfloat16


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file.create_virtual_dataset("a", layout)


REFUSED = {
    "not stored": (lambda file: file.create_dataset("a", (10**9,), "f4"), "claims to be larger than the file"),
    "not stored, small": (lambda file: file.create_dataset("a", (9,), "f4"), "is not stored as it is"),
    "compressed": (lambda file: file.create_dataset("a", data=np.zeros(99), compression="gzip"), "it is compressed"),
    "in pieces": (lambda file: file.create_dataset("a", data=np.zeros(99), chunks=(9,)), "is not stored as it is"),
    "in another file": (
        lambda file: file.create_dataset("a", (8,), "f4", external=[("other", 0, 32)]),
        "its values are in another file",
    ),
    "virtual": (virtual, "is not stored as it is"),
    "a link": (lambda file: file.update({"a": h5py.SoftLink("/b")}), "is a link"),
    "a link to a file": (
        lambda file: file.update({"a": h5py.ExternalLink("other.h5", "/b")}),
        "where one was expected",
    ),
    "a cycle": (lambda file: file.create_group("a").update({"b": file}), "a part is used twice"),
    "an array twice": (lambda file: (file.update({"a": np.ones(3)}), file.update({"b": file["a"]})), "is used twice"),
    "a text": (lambda file: file.update({"a": "text"}), "something else than numbers"),
    "a table": (lambda file: file.update({"a": np.zeros(3, "f4,i4")}), "something else than numbers"),
    "complex": (lambda file: file.update({"a": np.zeros(3, "c8")}), "something else than numbers"),
    "references": (lambda file: file.create_dataset("a", (2,), h5py.ref_dtype), "not stored|else than numbers"),
    "nothing": (lambda file: file.update({"a": h5py.Empty("f4")}), "unknown shape|not stored"),
    "deep": (lambda file: file.create_group("/".join("a" * 99)), "nested more than 64 deep"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_keras_does_not_write(name):
    write, said = REFUSED[name]
    with pytest.raises(RefusedError, match=said) as caught:
        read_arrays(written(write))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("version", ["v108", "latest"])
def test_other_versions(version):
    content = io.BytesIO()
    with h5py.File(content, "w", libver=version) as file:
        file["a"] = np.ones(3)
    with pytest.raises(RefusedError, match="of another version"):
        read_arrays(content.getvalue())


def test_what_is_no_hdf5_file():
    for content in (b"", b"\x89HDF\r\n\x1a\n", bytes(200), b"\x89HDF\r\n\x1a\n" + bytes(200)):
        with pytest.raises(RefusedError):
            read_arrays(content)


def test_damage_is_refused_or_within_the_file():
    def write(file):
        for index in range(5):
            file[f"layers/dense_{index}/vars/0"] = np.ones((4, 3), "f4")
            file[f"layers/dense_{index}"].attrs["name"] = "dense"

    whole = written(write)
    draw = random.Random(0)
    used = [place for place in range(len(whole)) if whole[place]]
    refused = 0
    for _ in range(3000):
        content = bytearray(whole)
        for _ in range(draw.choice([1, 1, 3])):
            place = draw.choice(used)
            if draw.random() < 0.5:
                content[place] ^= 1 << draw.randrange(8)
            else:
                value = draw.choice([0, 1, 2**64 - 1, 2**63, draw.choice(used), len(whole)])
                content[place : place + 8] = value.to_bytes(8, "little")
        try:
            arrays = read_arrays(bytes(content))
        except RefusedError:
            refused += 1
            continue
        assert sum(array.nbytes for array in arrays.values()) <= len(content)
    assert 300 < refused < 3000
