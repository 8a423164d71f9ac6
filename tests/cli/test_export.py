from typing import get_args, get_type_hints

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.cli.export import run
from tfprune.cli.main import main
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
        ({"float_io": False}, "--no_float_io: only an int8 file can have int8 inputs and outputs; add --int8"),
        ({"out": "a.onnx", "batch_size": 2}, "--batch_size: expected a .tflite file, received a.onnx"),
        ({"batch_size": 0}, "--batch_size: expected a value of at least 1, received 0"),
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


@pytest.mark.filterwarnings("default")
def test_a_fixed_batch_is_said(tmp_path, screen, capsys):
    inputs = keras.Input((4, 3))
    keras.Model(inputs, keras.layers.GRU(2)(inputs)).save(tmp_path / "net.keras")
    assert main(["export", str(tmp_path / "net.keras"), str(tmp_path / "any.tflite")]) == 0
    assert capsys.readouterr().err == (
        "warning: any.tflite takes batches of 1, as LiteRT cannot leave their size open here; batch_size=8, or "
        "--batch_size 8, makes it eight\n"
    )
    run(ExportConfig(str(tmp_path / "net.keras"), str(tmp_path / "five.tflite"), batch_size=5), screen)
    assert screen.lines[-1].startswith("wrote ")
    assert run_tflite(tmp_path / "five.tflite", np.ones((5, 4, 3), np.float32)).shape == (5, 2)


@pytest.mark.parametrize("float_io", [True, False])
def test_int8_inputs_and_outputs(folder, tmp_path, screen, float_io):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    out = tmp_path / "net.tflite"
    data = str(folder / "unlabelled.npz")
    run(ExportConfig(str(folder / "net.keras"), str(out), int8=True, data=data, float_io=float_io), screen)
    runner = litert.Interpreter(str(out)).get_signature_runner()
    ends = [*runner.get_input_details().values(), *runner.get_output_details().values()]
    assert {np.dtype(each["dtype"]).name for each in ends} == {"float32" if float_io else "int8"}


def test_sizes_are_compared_without_the_optimizer(tmp_path, screen):
    inputs = keras.Input((300,))
    model = keras.Model(inputs, keras.layers.Dense(100)(inputs))
    model.save(tmp_path / "net.keras")
    run(ExportConfig(str(tmp_path / "net.keras"), str(tmp_path / "a.keras")), screen)
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 300)), np.zeros((2, 100)), verbose=0)
    model.save(tmp_path / "net.keras")
    assert (tmp_path / "net.keras").stat().st_size > 2 * (tmp_path / "a.keras").stat().st_size
    run(ExportConfig(str(tmp_path / "net.keras"), str(tmp_path / "b.keras")), screen)
    before, after = (float(line.split()[-2]) for line in screen.lines if line.startswith("wrote"))
    assert after == pytest.approx(before, rel=0.2)


def test_a_model_that_keras_has_quantized_is_one_line(tmp_path, capsys):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="fc")])
    model.get_layer("fc").quantize("int8")
    model.save(tmp_path / "net.keras")
    assert main(["export", str(tmp_path / "net.keras"), str(tmp_path / "net.tflite")]) == 2
    assert "received layers that Keras has quantized: fc; prune, convert" in capsys.readouterr().err


def test_errors_of_converters_are_one_line(tmp_path, capfd):
    inputs = keras.Input((6, 6, 3))
    keras.Model(inputs, keras.layers.Conv2DTranspose(2, 3, dilation_rate=2)(inputs)).save(tmp_path / "net.keras")
    assert main(["export", str(tmp_path / "net.keras"), str(tmp_path / "net.tflite")]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("tfprune export: error: expected operations that LiteRT has")
    assert printed.err.count("\n") == 1
