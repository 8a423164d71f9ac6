import json
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import CheckpointError, ConfigError, RunFolderError
from tfprune.exporting import save_model
from tfprune.recipes import method as base
from tfprune.recipes.catalog import configs
from tfprune.recipes.data import load_data
from tfprune.recipes.ekg.baseline import baseline_path, load_baseline
from tfprune.recipes.ekg.method import EKGMethod
from tfprune.recipes.ekg.method import run as run_ekg
from tfprune.recipes.models import build_model
from tfprune.recipes.training import Loop

from .conftest import tiny_config


def network(arch="ResNet-20", classes=10, shape=(8, 8, 1)):
    return build_model(arch, num_classes=classes, input_shape=shape, seed=0)


@pytest.fixture
def trained(few_digits, run_folder, tmp_path, monkeypatch):
    """Runs `train_baseline` without the training; gives the model, the file and the training's arguments."""
    received = {}
    real = EKGMethod.trained

    def spy(self, model, **settings):
        received.update(settings, model=model)
        return real(self, model, **settings)

    def fit(self, batches, **settings):
        received.update(batches=batches)
        return []

    monkeypatch.setattr(base, "open_strategy", lambda config: tf.distribute.get_strategy())
    monkeypatch.setattr(EKGMethod, "trained", spy)
    monkeypatch.setattr(Loop, "fit", fit)

    def run(**changes):
        config = tiny_config(baseline_path=str(tmp_path / "kept"), **changes)
        method = EKGMethod(config, few_digits)
        assert method.baseline is None
        method.folder = run_folder
        return method.train_baseline(), config, received

    return run


def test_settings_of_the_training(trained):
    model, _, received = trained(baseline_epoch=7, baseline_learning_rate=0.25, batch_size=20, seed=5)
    assert (received["name"], received["epochs"], received["learning_rate"]) == ("baseline", 7, 0.25)
    images = next(iter(received["batches"](0)))["images"]
    assert images.shape == (20, 8, 8, 1)
    expected = build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1), seed=5)
    for one, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_baseline_is_kept_for_the_next_run(trained, few_digits, capsys):
    model, config, _ = trained()
    kept = load_baseline(config, few_digits)
    assert (
        capsys.readouterr().out
        == f"using the baseline that an earlier run trained: {baseline_path(config, few_digits)}\n"
    )
    for one, other in zip(model.get_weights(), kept.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


CHANGES = {
    "arch": "ResNet-32",
    "dataset": "CIFAR10",
    "stem": "small",
    "baseline_epoch": 3,
    "baseline_learning_rate": 0.2,
    "decay_points": (0.5,),
    "decay_rate": 0.5,
    "weight_decay": 0.0,
    "batch_size": 41,
    "accum": 2,
    "seed": 2,
    "precision": "mixed_bfloat16",
    "fraction": 0.5,
}


def path_of(**changes):
    return baseline_path(tiny_config(**changes), load_data("digits"))


@pytest.mark.parametrize("name", CHANGES)
def test_what_shapes_a_baseline_makes_another_one(name):
    assert path_of(**{name: CHANGES[name]}) != path_of()


def test_what_does_not_shape_it_finds_the_same_one():
    same = path_of(train_epoch=9, search_target_rate=0.3, learning_rate=0.5, do_log=7, Knowledge=False, export=False)
    assert same == path_of() == path_of(gpu_id=(0, 1))
    assert path_of(gpu_id=(0, 1), sync_batch_norm=False) != path_of(sync_batch_norm=False)


def test_images_on_the_disk_are_known_by_what_they_are(few_digits):
    def path(data, **changes):
        return baseline_path(configs(imagenet=True)["ekg"](**({"data_path": "images"} | changes)), data)

    assert path(few_digits) == path(few_digits, data_path="moved", resize_size=300)
    assert path(few_digits) != path(few_digits, image_size=160)
    assert path(few_digits) != path(replace(few_digits, name="another"))
    fewer = {"train_images": few_digits.train_images[:-1], "train_labels": few_digits.train_labels[:-1]}
    assert path(few_digits) != path(replace(few_digits, **fewer))


def test_nothing_to_load(few_digits, tmp_path):
    assert load_baseline(tiny_config(baseline_path=str(tmp_path)), few_digits) is None


def test_a_given_network_wins_over_a_kept_one(trained, few_digits, tmp_path, capsys):
    _, config, _ = trained()
    other = build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1), seed=77)
    save_model(other, tmp_path / "mine.keras")
    given = tiny_config(baseline_path=config.baseline_path, trained_param=str(tmp_path / "mine.keras"))
    loaded = load_baseline(given, few_digits)
    np.testing.assert_array_equal(loaded.get_layer("conv").kernel, other.get_layer("conv").kernel)
    assert capsys.readouterr().out == ""


def write_checkpoint(kind: str, path: Path) -> Path:
    """A file that cannot be used."""
    file = path / f"{kind}.keras"
    if kind == "damaged":
        file.write_bytes(b"PK\3\4 no model")
    elif kind == "hostile":
        inputs = keras.Input((8, 8, 1))
        keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs)).save(file)
    elif kind == "empty":
        file.touch()
    elif kind == "half":
        save_model(network(), file)
        file.write_bytes(file.read_bytes()[:20_000])
    elif kind == "configless":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("config.json", json.dumps({"class_name": "os.system", "config": {"command": "true"}}))
    elif kind == "pickle":
        file = path / "evil.pkl"
        file.write_bytes(b"cos\nsystem\n(S'touch " + str(path / "pwned").encode() + b"'\ntR.")
    elif kind == "folder":
        file.mkdir()
    elif kind != "missing":
        arguments = {"deeper": {"arch": "ResNet-32"}, "classes": {"classes": 7}, "shape": {"shape": (16, 16, 3)}}
        save_model(network(**arguments[kind]), file)
    return file


KINDS = {
    "missing": "expected a file of weights, {file} does not exist; check the path",
    "folder": "expected a file of weights, or a folder with best.keras or trained.keras; files of weights in",
    "empty": "expected weights in {file}, it is empty; download or save it again",
    "damaged": "cannot read {file}: expected a Keras model, it is damaged or no ZIP archive; ",
    "half": "cannot read {file}: expected a Keras model, it is damaged or no ZIP archive; ",
    "hostile": "cannot read {file}: expected a Keras model, it has a Lambda, which runs code; ",
    "configless": "cannot read {file}: expected a Keras model, it has no member 'model.weights.h5'; ",
    "pickle": "cannot read {file}: expected a pickled dictionary of arrays, it asks for os.system; ",
    "deeper": "{file}: ",
    "classes": "{file}: the file tells 7 classes apart, expected 10; use the data set it was trained on",
    "shape": "{file}: the file is for images of shape [16, 16, 3], expected [8, 8, 1]; use the data set it was trained",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_checkpoint_is_one_line_and_leaves_no_folder(kind, few_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "open_images", lambda config: few_digits)
    file = write_checkpoint(kind, tmp_path)
    with pytest.raises(CheckpointError) as caught:
        run_ekg(tiny_config(trained_param=str(file), train_path=str(tmp_path / "run")))
    message = str(caught.value)
    assert message.startswith(KINDS[kind].format(file=file))
    assert "\n" not in message
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "pwned").exists()


def test_a_damaged_kept_baseline_is_named(trained, few_digits):
    _, config, _ = trained()
    baseline_path(config, few_digits).write_bytes(b"x")
    with pytest.raises(
        CheckpointError, match=f"{baseline_path(config, few_digits)}: expected a Keras model, it is damaged"
    ):
        load_baseline(config, few_digits)


def test_an_unknown_architecture_leaves_no_folder(few_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "open_images", lambda config: few_digits)
    with pytest.raises(ConfigError) as caught:
        run_ekg(tiny_config(arch="ResNet-21", train_path=str(tmp_path / "run")))
    assert str(caught.value).startswith("--arch: expected one of ResNet-")
    assert str(caught.value).endswith("; received ResNet-21")
    assert not (tmp_path / "run").exists()


def test_an_unusable_folder_of_baselines_is_found_before_training(few_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "open_images", lambda config: few_digits)
    monkeypatch.setattr(EKGMethod, "train_baseline", lambda *_: pytest.fail("trains"))
    (tmp_path / "file").touch()
    config = tiny_config(baseline_path=str(tmp_path / "file" / "kept"), train_path=str(tmp_path / "run"))
    with pytest.raises(RunFolderError) as caught:
        run_ekg(config)
    assert str(caught.value) == (
        f"cannot write the folder of baselines {tmp_path}/file/kept: Not a directory; give another --baseline_path"
    )
    assert not (tmp_path / "run").exists()
