"""Criteria of `tfprune prune`: those of the registry, those of plugins and those of installed packages."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tfprune import criteria
from tfprune.cli.main import main
from tfprune.cli.programs import train_cifar, train_imagenet
from tfprune.criteria import registry
from tfprune.graph import prunable_weights
from tfprune.masks import Masks

ROOT = Path(__file__).parents[2]
PLUGIN = '''
import numpy as np
from tfprune.criteria import WeightCriterion, register_criterion

@register_criterion("smallest")
class Smallest(WeightCriterion):
    """Keeps the smallest weights."""

    def scores(self, model, weights, data=None):
        return {name: -np.abs(np.asarray(weight)) for name, weight in weights.items()}

@register_criterion("last_channels")
class LastChannels:
    uses_data = "never"

    def scores(self, model, groups, data=None):
        return np.arange(groups.channels, dtype=float)

@register_criterion("shown")
class Shown:
    """Scores by the number of examples."""

    uses_data = "always"

    def scores(self, model, groups, data=None):
        return np.full(groups.channels, float(len(data[0])))
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A folder with the plugin `my_criteria`, which is the current one; what the plugin registers is forgotten."""
    for table in ("_INFOS", "_CLASSES"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_criteria", raising=False)
    (tmp_path / "my_criteria.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("my_criteria", None)


def test_a_criterion_for_weights(plugin, folder):
    model = folder / "net.keras"
    words = ["prune", str(model), "m.npz", "--plugin", "my_criteria", "--criterion", "smallest", "--density", "0.5"]
    assert main(words) == 0
    found = Masks.load(plugin / "m.npz")
    largest = criteria.Magnitude()(keras.saving.load_model(model), 0.5)
    assert found.density == pytest.approx(0.5, abs=1e-3)
    assert (found & largest).kept <= 1  # the weights in the middle


def test_a_criterion_for_channels(plugin, folder, capsys):
    words = ["prune", str(folder / "net.keras"), "small.keras", "--plugin", "my_criteria", "--density", "0.5"]
    assert main([*words, "--criterion", "last_channels"]) == 0
    small, model = (keras.saving.load_model(path) for path in ("small.keras", folder / "net.keras"))
    np.testing.assert_array_equal(
        small.get_layer("conv2").bias, model.get_layer("conv2").bias[-small.get_layer("conv2").filters :]
    )
    capsys.readouterr()
    assert main([*words, "--criterion", "last_channels", "--data", "digits", "--overwrite"]) == 2
    assert "--data: criterion last_channels uses no examples" in capsys.readouterr().err
    assert main([*words, "--criterion", "shown", "--overwrite"]) == 2
    assert "--criterion shown: it uses examples; give --data" in capsys.readouterr().err


def test_a_plugin_that_fails_is_one_line(plugin, folder, capsys):
    (plugin / "broken.py").write_text("1 / 0\n")
    words = ["prune", str(folder / "net.keras"), "small.keras", "--plugin", "my_criteria", "broken", "--density", "0.5"]
    assert main(words) == 2
    said = "tfprune prune: error: cannot import the plugin broken: ZeroDivisionError: division by zero; expected "
    assert capsys.readouterr().err.startswith(said)


def test_criteria_of_installed_packages(plugin, folder, monkeypatch):
    metadata = plugin / "their_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their_package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[tfprune.criteria]\nlast_channels = my_criteria:LastChannels\n")
    sys.path.insert(0, str(plugin))
    for function in (registry._entry_points, registry._load_entry_point):
        function.cache_clear()
    try:
        assert registry.installed_criteria() == {"last_channels": "their_package"}
        assert "my_criteria" not in sys.modules
        words = ["prune", str(folder / "net.keras"), "small.keras", "--criterion", "last_channels", "--density", "0.5"]
        assert main(words) == 0
        assert "last_channels" in criteria.criterion_names("channels")
        shown = subprocess.run(
            [sys.executable, "-m", "tfprune", "prune", "--help"],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": f"{ROOT}:{plugin}"},
        )
        assert "From installed packages: last_channels (of their_package)." in " ".join(shown.stdout.split())
    finally:
        for function in (registry._entry_points, registry._load_entry_point):
            function.cache_clear()


def test_help_lists_all_criteria_without_tensorflow():
    code = "import sys\nfrom tfprune.cli.main import main\n"
    code += (
        "try: main(['prune', '--help'])\nfinally: print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    text = " ".join(done.stdout.split())
    assert text.endswith("[]")
    for kind in ("channels", "weights"):
        for info in registry.registered_criteria(kind):
            note = {"always": "; needs data)", "optional": "; uses data if given)", "never": ")"}[info.uses_data]
            rest = info.help[1:].rstrip(".")
            assert f"{info.name} (" in text
            assert rest + note in text


def test_own_criteria_work_in_python_as_well(plugin, folder):
    registry.load_plugins(["my_criteria"])
    model = keras.saving.load_model(folder / "net.keras")
    masks = criteria.criterion("smallest", scope="local")(model, 0.5)
    for name, weight in prunable_weights(model).items():
        size = np.abs(np.asarray(weight))
        assert size[masks[name]].max() <= size[~masks[name]].min()


@pytest.mark.parametrize("value", ["3", "null", "{a: b}", "[3]"])
def test_plugins_of_a_file_that_are_no_names_are_one_line(tmp_path, value, capsys):
    (tmp_path / "f.yaml").write_text(f"plugin: {value}\n")
    assert train_cifar(["--config", str(tmp_path / "f.yaml"), "--method", "dense"]) == 2
    assert re.fullmatch(r"train_cifar.py: error: .*plugin: expected texts, received .*\n", capsys.readouterr().err)


def test_a_plugin_that_ends_the_program_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ending_plugin.py").write_text("import sys\nsys.exit(0)\n")
    assert train_cifar(["--method", "dense", "--plugin", "ending_plugin"]) == 2
    assert "cannot import the plugin ending_plugin: SystemExit: 0" in capsys.readouterr().err


def test_help_after_plugins(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quiet_plugin.py").touch()
    with pytest.raises(SystemExit) as ended:
        train_cifar(["--method", "dense", "--plugin", "quiet_plugin", "-h"])
    assert ended.value.code == 0
    assert "--plugin" in capsys.readouterr().out


@pytest.mark.parametrize("stage", [["prune", "images", "--out", "pruned.npz"], ["train", "images"]])
def test_stages_import_plugins(stage, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train_imagenet([*stage, "--plugin", "nowhere"]) == 2
    assert "cannot import the plugin nowhere" in capsys.readouterr().err


PARTS = """
import keras

@keras.saving.register_keras_serializable("parts_of_a_plugin")
def wavy(values):
    return values + keras.ops.sin(values)

@keras.saving.register_keras_serializable("parts_of_a_plugin")
class Shift(keras.layers.Layer):
    def call(self, values):
        return values + 1
"""


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "own.keras", "--no_latency"),
        ("prune", "own.keras", "small.keras", "--flops", "0.5"),
        ("export", "own.keras", "own.tflite"),
        ("benchmark", "own.keras", "--batch_size", "1", "--runs", "1", "--warm_up", "1"),
    ],
)
def test_models_with_parts_of_their_own_are_read_with_a_plugin(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "parts_of_a_plugin.py").write_text(PARTS)
    known = keras.saving.get_custom_objects()

    def forget():
        sys.modules.pop("parts_of_a_plugin", None)
        for name in [each for each in known if each.startswith("parts_of_a_plugin>")]:
            del known[name]

    registry.load_plugins(["parts_of_a_plugin"])
    parts = sys.modules["parts_of_a_plugin"]
    inputs = keras.Input((6,))
    x = parts.Shift()(keras.layers.Dense(8, activation=parts.wavy)(inputs))
    keras.Model(inputs, keras.layers.Dense(2)(x)).save("own.keras")
    forget()
    assert main(list(words)) == 2
    line = capsys.readouterr().err
    assert "own.keras has the function parts_of_a_plugin>wavy, the class parts_of_a_plugin>Shift, which Keras" in line
    assert line.count("\n") == 1
    assert main([*words, "--plugin", "parts_of_a_plugin"]) == 0
    forget()
