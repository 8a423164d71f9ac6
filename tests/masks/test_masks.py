import contextlib
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfprune.errors import CheckpointError, ConfigError
from tfprune.masks import Masks

shapes = hnp.array_shapes(min_dims=1, max_dims=4, max_side=5)
names = st.text("abc/_.é0", min_size=1, max_size=8)
some_masks = st.dictionaries(names, shapes.flatmap(lambda shape: hnp.arrays(bool, shape)), min_size=1, max_size=4)


@pytest.fixture
def masks():
    return Masks({"conv/kernel": np.array([[1, 0], [1, 1]]), "fc/kernel": np.zeros(3), "out/kernel": [True, False]})


def test_numbers(masks):
    assert (masks.kept, masks.total, len(masks)) == (4, 9, 3)
    assert masks.density == 4 / 9
    assert masks.sparsity == 1 - 4 / 9
    assert masks.counts == {"conv/kernel": (3, 4), "fc/kernel": (0, 3), "out/kernel": (1, 2)}
    assert masks.collapsed == ("fc/kernel",)
    assert list(masks) == ["conv/kernel", "fc/kernel", "out/kernel"]
    assert repr(masks) == "Masks(3 weights, 4 of 9 kept, density 0.4444)"


def test_they_cannot_be_changed(masks):
    array = np.ones(3, bool)
    mine = Masks({"a": array})
    array[0] = False
    assert mine.kept == 3
    with pytest.raises(ValueError, match="read-only"):
        masks["conv/kernel"][0] = False
    with pytest.raises(TypeError):
        masks["conv/kernel"] = array
    with pytest.raises(TypeError, match="unhashable"):
        hash(masks)


def test_equality(masks):
    assert masks == Masks(dict(masks))
    assert masks == Masks({name: masks[name] for name in reversed(list(masks))})
    assert masks != Masks({**masks, "fc/kernel": [0, 0, 1]})
    assert masks != Masks({name: masks[name] for name in list(masks)[:2]})
    assert masks != dict(masks)


@settings(deadline=None)
@given(some_masks, st.data())
def test_union_and_intersection(arrays, data):
    other = {name: data.draw(hnp.arrays(bool, mask.shape)) for name, mask in arrays.items()}
    a, b = Masks(arrays), Masks(other)
    for name in arrays:
        np.testing.assert_array_equal((a | b)[name], arrays[name] | other[name])
        np.testing.assert_array_equal((a & b)[name], arrays[name] & other[name])
    assert (a | b).kept + (a & b).kept == a.kept + b.kept


def test_full(masks):
    full = Masks.full(masks)
    assert full.density == 1
    assert {name: mask.shape for name, mask in full.items()} == {name: mask.shape for name, mask in masks.items()}


def test_those_of_other_models_do_not_combine(masks):
    with pytest.raises(ConfigError, match=r"expected one for out/kernel, received none"):
        masks & Masks({name: masks[name] for name in list(masks)[:2]})
    with pytest.raises(TypeError):
        masks | {"a": np.ones(2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv/kernel": np.ones((4, 1))}, r"expected shape \(4, 1\) for conv/kernel, received \(2, 2\)"),
        ({"more/kernel": np.ones(1)}, "expected one for more/kernel, received none"),
        ({"fc/kernel": None}, "received one of fc/kernel, which is no prunable weight"),
    ],
)
def test_check_names_the_first_difference(masks, change, message):
    masks.check(masks)
    weights = {name: value for name, value in {**masks, **change}.items() if value is not None}
    with pytest.raises(ConfigError, match=message):
        masks.check(weights)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "at least one weight"),
        ({"a": [0, 2]}, "zeros and ones for a"),
        ({"a": [0.5]}, "zeros and ones for a"),
        ({"a": [np.nan]}, "zeros and ones for a"),
        ({"a": ["x"]}, "zeros and ones for a"),
        ({"a": np.zeros((0, 3))}, "at least one weight in a"),
        ({3: [1]}, "names such as conv/kernel, received 3"),
    ],
)
def test_what_is_no_mask(arrays, message):
    with pytest.raises(ConfigError, match=message):
        Masks(arrays)


@settings(deadline=None)
@given(some_masks)
def test_through_a_file(tmp_path_factory, arrays):
    masks, path = Masks(arrays), tmp_path_factory.mktemp("masks") / "m.npz"
    masks.save(path)
    again = Masks.load(path)
    assert again == masks
    assert list(again) == list(masks)
    assert pickle.loads(pickle.dumps(masks)) == masks


def test_a_bit_a_weight(tmp_path):
    random = np.random.default_rng(0).random(80_000) < 0.5
    Masks({"a": random}).save(tmp_path / "m.npz")
    assert (tmp_path / "m.npz").stat().st_size < 12_000
    with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
        assert set(file.files) == {"format", "names", "shapes", "bits"}


def test_files_of_others(tmp_path, masks):
    with pytest.raises(ConfigError, match=r"ends in .npz, received .*m.npy"):
        masks.save(tmp_path / "m.npy")
    with pytest.raises(CheckpointError, match=r"cannot read .*: it is a folder; check the path"):
        Masks.load(tmp_path)
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(
        CheckpointError, match=r"expected masks that tfprune saved, it has no array 'format'; save them again"
    ):
        Masks.load(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("masks")
    with pytest.raises(CheckpointError, match=r"expected masks that tfprune saved, it is damaged or no ZIP archive"):
        Masks.load(tmp_path / "text.npz")
    np.savez(tmp_path / "pickle.npz", format=np.array([{}], dtype=object), names=1, shapes=1, bits=1)
    with pytest.raises(CheckpointError, match="its array 'format' has the type object, expected text"):
        Masks.load(tmp_path / "pickle.npz")


FORMAT = "tfprune masks 1"
PARTS = {"format": FORMAT, "names": ["a"], "shapes": [[3]], "bits": np.uint8([5])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "tfprune masks 2"}, "it has the format 'tfprune masks 2'"),
        ({"bits": np.uint8([1, 2])}, "the number of bits differs"),
        ({"bits": np.float32([1])}, "its array 'bits' has the type float32, expected whole numbers"),
        ({"bits": np.int8([1])}, "the number of bits differs"),
        ({"parameters": -1}, "its array 'parameters' has numbers below 0"),
        ({"format": [FORMAT]}, r"its array 'format' has the shape \[1\], expected \[\]"),
        ({"names": [""]}, "a name appears twice, or is empty"),
        ({"shapes": [3]}, "names and shapes do not match"),
        ({"shapes": [[2**62, 2**62]]}, "the number of bits differs"),
        ({"shapes": [[2**40]]}, "the number of bits differs"),
        ({"shapes": [[0]]}, "a shape is empty"),
        ({"names": ["a", "b"]}, "names and shapes do not match"),
        ({"names": ["a", "a"], "shapes": [[3], [3]]}, "a name appears twice"),
        ({"names": [1]}, "its array 'names' has the type int64, expected text"),
    ],
)
def test_damage_in_a_file(tmp_path, change, message):
    path = tmp_path / "m.npz"
    np.savez(path, **PARTS)
    assert Masks.load(path) == Masks({"a": [0, 0, 0]})  # bits 0000 0101: the first three are 0
    np.savez(path, **PARTS | change)
    with pytest.raises(CheckpointError, match=message):
        Masks.load(path)


def test_masks_of_more_weights_than_the_file_has_bytes_for(tmp_path, monkeypatch):
    Masks({"a": np.ones(8_000_000)}).save(tmp_path / "m.npz")
    assert (tmp_path / "m.npz").stat().st_size < 4000
    assert Masks.load(tmp_path / "m.npz").density == 1
    monkeypatch.setattr("tfprune.masks.masks._MOST", 100)
    monkeypatch.setattr("tfprune.reading.archives.ROOM", 2_000_000)
    with pytest.raises(CheckpointError, match="it has masks of 8,000,000 weights, where 2,000,000 are the most"):
        Masks.load(tmp_path / "m.npz")


def test_cut_files(tmp_path, masks):
    masks.save(tmp_path / "m.npz")
    whole = (tmp_path / "m.npz").read_bytes()
    rng = np.random.default_rng(0)
    for size in range(0, len(whole), 37):
        (tmp_path / "cut.npz").write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            Masks.load(tmp_path / "cut.npz")
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        (tmp_path / "cut.npz").write_bytes(damaged)
        with contextlib.suppress(CheckpointError):
            Masks.load(tmp_path / "cut.npz")


def test_table(masks):
    assert masks.table().splitlines() == [
        "weight       kept  of  density",
        "conv/kernel     3   4   0.7500  ###############",
        "fc/kernel       0   3   0.0000  nothing is left",
        "out/kernel      1   2   0.5000  ##########",
        "-----------------------------------------------",
        "all             4   9   0.4444  #########",
    ]


def test_plot(tmp_path, masks):
    pytest.importorskip("matplotlib")
    masks.plot(tmp_path / "m.png")
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    masks.plot(tmp_path / "m.svg")
    assert (tmp_path / "m.svg").read_text().count("<path") > 3
    with pytest.raises(ConfigError, match="kind of picture"):
        masks.plot(tmp_path / "m.xyz")
