"""Files for people who do not have tfprune."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.export import export_saved_model, plain_model, save_model
from tfprune.graph import convert
from tfprune.models import build_model

IMAGES = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)

WITHOUT_TFPRUNE = "import sys\nsys.modules['tfprune'] = None\nimport numpy as np\n"
READERS = {
    "model.keras": "import keras\ncall = keras.saving.load_model(sys.argv[1])\n",
    "saved_model": "import tensorflow as tf\nloaded = tf.saved_model.load(sys.argv[1])\ncall = loaded.serve\n",
}
WRITERS = {"model.keras": save_model, "saved_model": export_saved_model}
PREDICT = "np.save(sys.argv[3], np.asarray(call(np.load(sys.argv[2]))))\nassert 'tfprune.layers' not in sys.modules\n"


@pytest.fixture(scope="module")
def network():
    """A narrow ResNet-20 with moving averages that are not the initial ones."""
    model = build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1), widths={"block1.0_conv1": 5}, seed=0)
    rng = np.random.default_rng(1)
    for variable in model.non_trainable_variables:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


@pytest.mark.parametrize(
    ("name", "precision"), [("model.keras", "mixed_bfloat16"), ("saved_model", "float32"), ("model.keras", "float32")]
)
def test_runs_without_tfprune(tmp_path, network, name, precision):
    fused = convert(network, "fused", dtype=precision)
    WRITERS[name](fused, tmp_path / name)
    np.save(tmp_path / "images.npy", IMAGES)
    files = [str(tmp_path / file) for file in (name, "images.npy", "logits.npy")]
    code = WITHOUT_TFPRUNE + READERS[name] + PREDICT
    done = subprocess.run([sys.executable, "-I", "-c", code, *files], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # A model trained in bfloat16 is written as float32: what it computes is exact again.
    np.testing.assert_allclose(np.load(files[2]), network(IMAGES, training=False), rtol=1e-4, atol=1e-4)


def test_plain_model_keeps_names_and_weights(network):
    plain = plain_model(convert(network, "fused"))
    assert [type(layer) for layer in plain.layers] == [type(layer) for layer in network.layers]
    assert [layer.name for layer in plain.layers] == [layer.name for layer in network.layers]
    for received, expected in zip(plain.variables, network.variables, strict=True):
        np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("family", ["masked", "gated"])
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_masks_and_gates_are_refused(tmp_path, network, family, write):
    with pytest.raises(
        UnsupportedLayerError, match=r"received .*(conv \(MaskedConv2D\)|bn \(Scored).*; slim the model"
    ):
        write(convert(network, family), tmp_path / "model.keras")
    assert not any(tmp_path.iterdir())


def test_a_model_within_a_model_is_refused(network):
    inputs = keras.Input((8, 8, 1))
    with pytest.raises(UnsupportedLayerError, match=f"expected a flat model, received the models {network.name} in it"):
        plain_model(keras.Model(inputs, network(inputs)))


@pytest.mark.parametrize("name", WRITERS)
def test_a_failed_write_keeps_the_old_file(tmp_path, network, name, monkeypatch):
    path = tmp_path / name
    WRITERS[name](network, path)
    before = {file: file.stat().st_mtime_ns for file in [path, *path.rglob("*")]}

    def fail(self, target, **options):
        target.mkdir() if name == "saved_model" else target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(keras.Model, "export" if name == "saved_model" else "save", fail)
    with pytest.raises(OSError, match="disk full"):
        WRITERS[name](network, path)
    assert {file: file.stat().st_mtime_ns for file in [path, *path.rglob("*")]} == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_replaces_an_older_one_and_makes_folders(tmp_path, network, name):
    path = tmp_path / "new" / "folder" / name
    for _ in range(2):
        WRITERS[name](network, path)
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_foreign_names_are_left_alone(tmp_path, network):
    with pytest.raises(ConfigError, match=r"ends in \.keras"):
        save_model(network, tmp_path / "model.h5")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="found something else"):
        export_saved_model(network, mine)
    assert (mine / "letter.txt").read_text() == "dear"
