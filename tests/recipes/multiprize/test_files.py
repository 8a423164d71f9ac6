"""What can be done with the files of a run."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.reading.torch_bytes import archive
from tests.recipes.multiprize.test_original_checkpoint import checkpoint
from tfprune.cli.main import main as tfprune_command
from tfprune.cli.programs import evaluate, train_cifar
from tfprune.exporting import load_packed
from tfprune.layers import collapsed_layers, subnet_layers
from tfprune.recipes.multiprize import MultiPrizeConfig, run

NARROW = ["--method", "multiprize", "--dataset", "digits", "--arch", "Conv2", "--width_multiplier", "0.0625"]


def failed(main, arguments, capsys):
    """The one line that a command ends with."""
    assert main([str(word) for word in arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return error


def test_evaluation_and_export_need_no_flags(tiny_world, few_digits, capsys, tmp_path):
    result = tiny_world(density=0.2, scope="global", density_ramp_epochs=1, seed=1)
    arguments = ["--trained_param", "run", "--evaluate", "--json", "numbers.json"]
    assert evaluate(arguments) == 0
    numbers = json.loads(Path("numbers.json").read_text())
    best = keras.saving.load_model("run/best.keras")
    assert numbers["kept"] == sum(int(np.sum(layer.mask)) for layer in subnet_layers(best)) == result.numbers["kept"]
    assert numbers["params"] == result.numbers["prunable"]
    assert (numbers["uncounted"], numbers["flops"] > numbers["params"]) == ([], True)
    assert "latency" not in capsys.readouterr().out
    assert tfprune_command(["export", "run/best.keras", "ticket.mpt", "--format", "packed"]) == 0
    images = few_digits.normalize(few_digits.test_images)
    np.testing.assert_allclose(load_packed("ticket.mpt")(images), best(images), atol=1e-5)
    assert Path("ticket.mpt").stat().st_size < Path("run/best.keras").stat().st_size / 20
    assert tfprune_command(["export", "run/best.keras", "plain.keras"]) == 0
    np.testing.assert_allclose(keras.saving.load_model("plain.keras")(images), best(images), atol=1e-5)
    error = failed(evaluate, ["--trained_param", "run", "--arch", "Conv4"], capsys)
    assert "the file is a Conv2, expected Conv4" in error


@pytest.mark.slow
def test_a_network_with_logits_for_patches(tiny_world, few_digits):
    settings = {"arch": "ResNet-20", "width_multiplier": 0.25, "final_pool": 1, "epochs": 0}
    tiny_world(**settings)
    network = keras.saving.load_model("run/trained.keras")
    assert network.output_shape[-1] == 40
    tiny_world(None, evaluate=True, pretrained="run/trained.keras", **settings | {"density": 0.3})


@pytest.mark.slow
@pytest.mark.parametrize("dense", [False, True])
def test_pretrained(tiny_world, few_digits, dense):
    first = tiny_world("first", dense=dense)
    images = few_digits.normalize(few_digits.test_images)
    if dense:
        second = tiny_world("second", pretrained="first/trained.keras", epochs=0)
        assert second.numbers["density"] == pytest.approx(0.3, abs=0.01)
        for one, other in zip(first.model.layers, second.model.layers, strict=True):
            if hasattr(one, "kernel"):
                np.testing.assert_array_equal(one.kernel, other.kernel)
        return
    second = tiny_world("second", pretrained="first/trained.keras", epochs=0)
    np.testing.assert_array_equal(first.model(images), second.model(images))
    sparser = tiny_world("sparser", pretrained="first/trained.keras", density=0.1, seed=9, epochs=0)
    for one, other in zip(subnet_layers(first.model), subnet_layers(sparser.model), strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)
        size = int(np.prod(one.mask.shape))
        assert np.sum(other.mask) == size - int(0.9 * size)
    measured = tiny_world(None, evaluate=True, pretrained="first/trained.keras", density=None)
    assert measured.folder is None
    assert measured.numbers["accuracy"] == first.numbers["accuracy"]
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["first", "results.csv", "second", "sparser"]


@pytest.mark.slow
def test_a_second_stage_trains_batch_norms_alone(tiny_world):
    settings = {"binary_activations": True, "optimizer": "adam", "learning_rate": 0.1}
    first = tiny_world("first", **settings, batch_norm="affine")
    second = tiny_world(
        "second", **settings, pretrained="first/trained.keras", learn_batchnorm=True, tune_batchnorm=True
    ).model
    changed = {}
    for one, other in zip(first.model.layers, second.layers, strict=True):
        values = {variable.name: variable for variable in one.variables}
        for variable in other.variables:
            changed.setdefault(variable.name, set()).add(bool(np.any(np.asarray(variable) != values[variable.name])))
    assert changed["gamma"] == changed["beta"] == changed["moving_mean"] == {True}
    assert changed["kernel"] == changed["scores"] == changed["mask"] == {False}


def test_a_checkpoint_of_the_authors(few_digits, golden_biprop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive("best.pth", checkpoint(golden_biprop))
    images = np.clip(40 * golden_biprop["train/x"].transpose(0, 2, 3, 1) + 120, 0, 255).astype(np.uint8)
    labels = golden_biprop["train/y"]
    parts = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    data = replace(few_digits, **parts, mean=(120.0,) * 3, std=(40.0,) * 3)
    settings = {"arch": "Conv4", "width_multiplier": 0.125, "pretrained": "best.pth", "batch_size": 8, "export": False}
    measured = run(MultiPrizeConfig(**settings, evaluate=True), data)
    assert measured.numbers["density"] == pytest.approx(0.5, abs=1e-3)
    started = run(MultiPrizeConfig(**settings, density=0.2, epochs=0, train_path="run", original_quirks=True), data)
    assert started.numbers["density"] == pytest.approx(0.2, abs=1e-3)
    for one, other in zip(subnet_layers(measured.model), subnet_layers(started.model), strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.kernel, other.kernel)


def test_files_that_cannot_be_used(tiny_world, capsys, tmp_path):
    tiny_world(epochs=0)
    start = [*NARROW, "--density", "0.3", "--train_path", "new", "--pretrained"]
    assert "does not exist" in failed(train_cifar, [*start, "none.keras"], capsys)
    content = Path("run/trained.keras").read_bytes()
    Path("cut.keras").write_bytes(content[: len(content) // 2])
    assert "it is damaged or no ZIP archive" in failed(train_cifar, [*start, "cut.keras"], capsys)
    assert "cannot read none.pth" in failed(train_cifar, [*start, "none.pth"], capsys)
    Path("cut.pth").write_bytes(b"PK\x03\x04" + bytes(50))
    assert "cannot read cut.pth: expected a file of torch.save" in failed(train_cifar, [*start, "cut.pth"], capsys)
    with zipfile.ZipFile("hostile.pth", "w") as archive:
        archive.writestr("a/data.pkl", b"cos\nsystem\n(S'touch hacked'\ntR.")
        archive.writestr("a/version", b"3")
    assert "it asks for" in failed(train_cifar, [*start, "hostile.pth"], capsys)
    assert not Path("hacked").exists()
    wider = [word if word != "0.0625" else "0.125" for word in start]
    error = failed(train_cifar, [*wider, "run/trained.keras"], capsys)
    assert "expected the shape [3, 3, 1, 8] of stage0.0_conv/" in error
    assert "run/trained.keras has [3, 3, 1, 4]; build the model of the file" in error
    other = ["Conv4" if word == "Conv2" else word for word in start]
    assert "the file is a Conv2, expected Conv4" in failed(train_cifar, [*other, "run/trained.keras"], capsys)
    assert not Path("new").exists()


def test_settings_that_cannot_be_used(tiny_world, capsys, tmp_path):
    run = [*NARROW, "--epochs", "1"]
    assert "--name is missing" in failed(train_cifar, [*run, "--density", "0.3"], capsys)
    assert "--density" in failed(train_cifar, [*run, "--density", "0", "--name", "x"], capsys)
    collapsed = [*run, "--name", "x", "--density", "0.01", "--scope", "global", "--density_ramp_epochs", "0"]
    error = failed(train_cifar, collapsed, capsys)
    assert "no weight is left in" in error
    assert "raise --density, or take --scope layer" in error
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_collapsed_layer_beside_a_shortcut_is_named(tiny_world, few_digits, capsys):
    settings = {"arch": "ResNet-20", "width_multiplier": 0.25, "scope": "global", "density_ramp_epochs": 0}
    result = tiny_world(**settings, density=0.05, epochs=1, learning_rate=0.01)
    names = collapsed_layers(result.model)
    assert result.numbers["collapsed_layers"] == len(names) > 0
    assert f"no weight is left in {', '.join(names)}" in capsys.readouterr().out
    assert np.isfinite(result.numbers["loss"])
