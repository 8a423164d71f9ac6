"""The record in a file of each format, and files that compute what they compute without one."""

import json
import zipfile

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tfprune.errors import ConfigError
from tfprune.exporting import add_record, export, export_packed, load_packed, read_packed_record, read_record
from tfprune.graph import convert

RECORD = {
    "method": "mine",
    "arch": "Tiny",
    "input_shape": [4],
    "settings": {"density": 0.25, "init": None, "jsd": True},
}
IMAGES = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(scope="module")
def tiny():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, "relu"), keras.layers.Dense(2)])


def run_keras(path):
    return np.asarray(keras.saving.load_model(path)(IMAGES))


def run_saved_model(path):
    loaded = tf.saved_model.load(path)
    return np.asarray(loaded.serve(IMAGES))


def run_tflite(path):
    return Interpreter(str(path)).get_signature_runner()(x=IMAGES)["output_0"]


def run_onnx(path):
    return onnxruntime.InferenceSession(path).run(None, {"x": IMAGES})[0]


def onnx_record(path):
    return json.loads({each.key: each.value for each in onnx.load(path).metadata_props}.get("tfprune", "{}"))


FORMATS = {
    "a.keras": (run_keras, read_record),
    "a": (run_saved_model, read_record),
    "a.tflite": (run_tflite, read_record),
    "a.onnx": (run_onnx, onnx_record),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_carries_it_and_computes_the_same(name, tiny, tmp_path):
    run, read = FORMATS[name]
    export(tiny, tmp_path / "without" / name)
    assert read(tmp_path / "without" / name) == {}
    for record in ({"other": 1}, RECORD):  # the second one replaces the first
        export(tiny, tmp_path / name, record=record)
    assert read(tmp_path / name) == RECORD
    np.testing.assert_array_equal(run(tmp_path / name), run(tmp_path / "without" / name))
    np.testing.assert_allclose(run(tmp_path / name), tiny(IMAGES), atol=1e-6)


def test_a_tflite_file_does_not_tell_when_it_was_written(tmp_path, monkeypatch):
    contents = []
    for number, year in enumerate((2025, 2026)):
        monkeypatch.setattr("time.time", lambda year=year: (year - 1970) * 365.25 * 86400)
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(b"any")
        add_record(path, RECORD)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


def test_packed_files(tiny, tmp_path):
    ticket = convert(tiny, "subnet", density=0.5)
    export_packed(ticket, tmp_path / "without.mpt")
    assert read_packed_record(tmp_path / "without.mpt") == {}
    export(ticket, tmp_path / "a.mpt", record=RECORD)
    assert read_packed_record(tmp_path / "a.mpt") == RECORD
    np.testing.assert_array_equal(*(load_packed(tmp_path / name)(IMAGES) for name in ("a.mpt", "without.mpt")))


@pytest.mark.parametrize("record", [{"a": np.zeros(2)}, {"a": {1, 2}}, [1], "text", {("a", 1): 2}], ids=repr)
@pytest.mark.parametrize("name", FORMATS)
def test_other_than_plain_values(name, record, tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"record: expected ") as caught:
        export(tiny, tmp_path / name, record=record)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_files_without_one_that_can_be_read(tiny, tmp_path):
    (tmp_path / "text.keras").write_text("no archive")
    (tmp_path / "folder").mkdir()
    for content in ('{"a": ', "[1, 2]", "[" * 100_000, '{"a": "' + "x" * (1 << 20) + '"}'):
        path = tmp_path / "odd.keras"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("tfprune.json", content)
        assert read_record(path) == {}
    whole = tmp_path / "whole.keras"
    tiny.save(whole)
    add_record(whole, RECORD)
    (tmp_path / "cut.keras").write_bytes(whole.read_bytes()[:300])
    for name in ("text.keras", "folder", "cut.keras", "none.keras"):
        assert read_record(tmp_path / name) == {}
    assert read_record(whole) == RECORD
