from typing import get_args, get_type_hints

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.cli.export import run
from tfprune.cli.model_configs import ExportConfig
from tfprune.errors import CheckpointError, ConfigError, RunFolderError
from tfprune.exporting import FORMATS, QUANTIZATIONS, load_packed
from tfprune.graph import convert


@pytest.mark.parametrize("name", ["net.keras", "net.tflite", "net"])
def test_formats(folder, tmp_path, screen, name):
    path = run(ExportConfig(str(folder / "net.keras"), str(tmp_path / name)), screen)
    assert path == tmp_path / name
    assert screen.lines[-1].startswith(f"wrote {path}: ")
    images = np.random.default_rng(0).random((1, 8, 8, 1), np.float32)
    expected = keras.saving.load_model(folder / "net.keras")(images)
    received = {
        "net.keras": lambda: keras.saving.load_model(path)(images),
        "net.tflite": lambda: run_tflite(path, images),
        "net": lambda: served(tf.saved_model.load(path), images),
    }[name]()
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


def test_packed(tmp_path, screen):
    inputs = keras.Input((8,))
    model = convert(keras.Model(inputs, keras.layers.Dense(4)(inputs)), "subnet", density=0.5)
    model.save(tmp_path / "net.keras")
    path = run(ExportConfig(str(tmp_path / "net.keras"), str(tmp_path / "net.mpt"), format="packed"), screen)
    images = np.ones((2, 8), np.float32)
    np.testing.assert_allclose(load_packed(path)(images), model(images), rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match="expected a name for the format packed"):
        run(ExportConfig(str(tmp_path / "net.keras"), str(tmp_path / "net.onnx"), format="packed"), screen)


def served(model, images):
    return model.serve(images)


def run_tflite(path, images):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    runner = litert.Interpreter(str(path)).get_signature_runner()
    (name,) = runner.get_input_details()
    (output,) = runner(**{name: images}).values()
    return output


@pytest.mark.parametrize("asked", [{"int8": True}, {"quantize": "int8"}])
def test_int8_is_calibrated_on_the_examples(folder, tmp_path, screen, asked):
    out = tmp_path / "net.tflite"
    config = ExportConfig(str(folder / "net.keras"), str(out), data=str(folder / "unlabelled.npz"), **asked)
    run(config, screen)
    with np.load(folder / "unlabelled.npz") as arrays:
        images = arrays["x"][:1]
    expected = np.asarray(keras.saving.load_model(folder / "net.keras")(images))
    difference = np.abs(run_tflite(out, images) - expected).max()
    assert 0 < difference < 0.1 * np.abs(expected).max()


def test_smaller_weights(folder, tmp_path, screen):
    sizes = {}
    for quantize in (None, "float16"):
        out = run(ExportConfig(str(folder / "net.keras"), str(tmp_path / f"{quantize}.tflite"), quantize), screen)
        sizes[quantize] = out.stat().st_size
    assert sizes["float16"] < sizes[None]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"out": "a.h5"}, "expected a name that ends in .keras, .tflite, .onnx or .mpt, or a folder .* received a.h5"),
        ({"int8": True}, "--int8: the ranges of the activations are measured on examples; give --data"),
        ({"quantize": "int8"}, "measured on examples; give --data"),
        ({"int8": True, "quantize": "float16", "data": "digits"}, "contradict each other"),
        ({"out": "a.onnx", "quantize": "float16"}, "expected a .tflite file to quantize, received a.onnx"),
        ({"data": "digits"}, "--data: only int8 uses examples"),
        ({"format": "coreml"}, "--format: expected keras, tflite, onnx, packed, saved_model or None, received coreml"),
        ({"examples": 0}, "--examples: expected a value of at least 1, received 0"),
    ],
)
def test_mistakes(settings, message):
    with pytest.raises(ConfigError, match=message):
        ExportConfig(**({"model": "a.keras", "out": "a.tflite"} | settings))


def test_files_are_checked_first(folder, tmp_path, screen):
    with pytest.raises(CheckpointError, match=r"nowhere.keras does not exist"):
        ExportConfig("nowhere.keras", "a.tflite").check_files()
    model, old = str(folder / "net.keras"), tmp_path / "old.keras"
    old.write_text("precious")
    with pytest.raises(RunFolderError, match=r"old.keras exists; add --overwrite"):
        run(ExportConfig(model, str(old)), screen)
    assert old.read_text() == "precious"
    run(ExportConfig(model, str(old), overwrite=True), screen)
    assert keras.saving.load_model(old).name == "net"


def test_the_names_are_those_of_the_package():
    (kinds, _) = get_args(get_type_hints(ExportConfig)["quantize"])
    assert set(get_args(kinds)) == set(QUANTIZATIONS)
    for each in FORMATS:
        assert ExportConfig("a.keras", f"a{each.suffix}", format=each.name).format == each.name
