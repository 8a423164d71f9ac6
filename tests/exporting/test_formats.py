"""Files of every format for people who do not have tfprune."""

import subprocess
import sys
from types import ModuleType

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

import tfprune
from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.exporting import FORMATS, export, formats, output, save_model
from tfprune.graph import convert

NAMES = ["model.keras", "saved_model", "model.tflite", "model.onnx"]
WITHOUT_TFPRUNE = "import sys\nsys.modules['tfprune'] = None\nimport numpy as np\n"
READERS = {
    "model.keras": "import keras\ncall = keras.saving.load_model(sys.argv[1])\n",
    "saved_model": "import tensorflow as tf\nloaded = tf.saved_model.load(sys.argv[1])\ncall = loaded.serve\n",
}
PREDICT = "np.save(sys.argv[3], np.asarray(call(np.load(sys.argv[2]))))\nassert 'tfprune.layers' not in sys.modules\n"


@pytest.fixture(scope="module")
def tiny():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(2)])


def listing(folder):
    return {file.relative_to(folder): file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), [("model.keras", "mixed_bfloat16"), ("saved_model", "float32")])
def test_runs_without_tfprune(tmp_path, residual, inputs_for, name, precision):
    assert export(convert(residual, "fused", dtype=precision), tmp_path / name) == tmp_path / name
    (images,) = inputs_for(residual).values()
    np.save(tmp_path / "images.npy", images)
    files = [str(tmp_path / file) for file in (name, "images.npy", "logits.npy")]
    code = WITHOUT_TFPRUNE + READERS[name] + PREDICT
    done = subprocess.run([sys.executable, "-I", "-c", code, *files], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # A model trained in bfloat16 is written as float32: what it computes is exact again.
    np.testing.assert_allclose(np.load(files[2]), residual(images, training=False), rtol=1e-5, atol=1e-5)


def test_keras_and_saved_model_compute_the_same(tmp_path, network, inputs_for, outputs_of):
    inputs = inputs_for(network)
    expected = outputs_of(network, inputs)
    loaded = keras.saving.load_model(export(network, tmp_path / "model.keras"))
    signature = tf.saved_model.load(export(network, tmp_path / "model")).signatures["serving_default"]
    for received in (outputs_of(loaded, inputs), signature(**{k: tf.constant(v) for k, v in inputs.items()})):
        assert set(received) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(received[name], value, rtol=1e-5, atol=1e-5)


def test_is_the_function_users_call():
    assert tfprune.export is export


@pytest.mark.parametrize("name", NAMES)
def test_replaces_an_older_one_and_makes_folders(tmp_path, tiny, name):
    path = tmp_path / "new" / "folder" / name
    export(tiny, path)
    before = listing(path.parent)
    export(tiny, path)
    assert [file.name for file in path.parent.iterdir()] == [name]
    assert listing(path.parent).keys() == before.keys()
    assert all(listing(path.parent)[file] > before[file] for file in before)


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_write_keeps_the_old_file(tmp_path, tiny, name, monkeypatch):
    export(tiny, tmp_path / name)
    before = listing(tmp_path)

    def fail(_, target, **options):
        target.mkdir() if name == "saved_model" else target.write_bytes(b"half")
        raise OSError("disk full")

    class Archive:
        track = add_endpoint = lambda self, *args: None
        write_out = fail

    written_by = {
        "model.keras": (keras.Model, "save", fail),
        "saved_model": (keras.export, "ExportArchive", Archive),
        "model.tflite": (keras.Model, "export", fail),
        "model.onnx": (onnx, "save", fail),
    }
    monkeypatch.setattr(*written_by[name])
    with pytest.raises(OSError, match="disk full"):
        export(tiny, tmp_path / name)
    assert listing(tmp_path) == before
    assert list(tmp_path.iterdir()) == [tmp_path / name]


@pytest.mark.parametrize("name", NAMES)
def test_says_nothing_and_keeps_foreign_things(tmp_path, tiny, name, capfd, recwarn):
    export(tiny, tmp_path / name)
    assert capfd.readouterr() == ("", "")
    assert [str(each.message) for each in recwarn] == []
    foreign = tmp_path / "foreign" / name
    foreign.mkdir(parents=True)
    (foreign / "letter.txt").write_text("dear")
    (foreign / "saved_model.pb").write_text("looks like one")
    with pytest.raises(ConfigError, match=r"is a folder; name a file|found something else; name another"):
        export(tiny, foreign)
    assert sorted(file.name for file in foreign.iterdir()) == ["letter.txt", "saved_model.pb"]
    assert [file.name for file in foreign.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_masked_models_leave_nothing(tmp_path, tiny, name):
    with pytest.raises(UnsupportedLayerError, match="slim the model first"):
        export(convert(tiny, "channel_masked"), tmp_path / name)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("model.h5", {}, r"ends in \.keras, \.tflite, \.onnx or \.mpt, or a folder"),
        ("model", {"format": "coreml"}, "expected a format out of keras, tflite, onnx, .*; received 'coreml'"),
        ("model.onnx", {"format": "tflite"}, "expected a name for the format tflite"),
        ("model.keras", {"format": "saved_model"}, "expected a name for the format saved_model"),
        ("model.keras", {"quantize": "int8"}, "for tflite only, received them for keras"),
        ("model", {"data": np.ones((1, 4))}, "for tflite only, received them for saved_model"),
        ("model.onnx", {"float_io": False}, "for tflite only, received them for onnx"),
    ],
)
def test_wrong_settings(tmp_path, tiny, name, options, message):
    with pytest.raises(ConfigError, match=message):
        export(tiny, tmp_path / name, **options)
    assert not any(tmp_path.iterdir())


def test_a_folder_may_have_any_name(tmp_path, tiny):
    export(tiny, tmp_path / "model.v2", format="saved_model")
    assert (tmp_path / "model.v2" / "saved_model.pb").is_file()


def test_carries_the_compilation(tmp_path, residual):
    residual.compile(loss="mse", optimizer=keras.optimizers.SGD(0.25))
    save_model(residual, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert float(loaded.optimizer.learning_rate) == 0.25
    np.testing.assert_array_equal(loaded.get_layer("fc").kernel, residual.get_layer("fc").kernel)


def test_other_suffixes_are_refused(tmp_path, residual):
    with pytest.raises(ConfigError, match=r"ends in \.keras"):
        save_model(residual, tmp_path / "model.h5")
    assert not any(tmp_path.iterdir())


def test_a_format_is_a_function_and_a_line(tmp_path, tiny, monkeypatch):
    module = ModuleType("notes")
    module.write = lambda model, path: path.write_text(model.name)
    monkeypatch.setitem(sys.modules, "notes", module)
    table = (*FORMATS, formats.Format("notes", ".txt", "notes:write"))
    monkeypatch.setattr(formats, "FORMATS", table)
    monkeypatch.setattr(output, "FORMATS", table)
    export(tiny, tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == tiny.name
    with pytest.raises(ConfigError, match="quantize for tflite only, received them for notes"):
        export(tiny, tmp_path / "b.txt", quantize="int8")


def test_the_table_imports_no_tensorflow():
    code = "import sys, tfprune.exporting.formats\nprint(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
