"""All stages on a tiny network."""

import json

import keras
import numpy as np
import pytest

from tfprune.errors import ConfigError, RunFolderError
from tfprune.exporting import read_record
from tfprune.masks import Masks
from tfprune.recipes.peekaboo import method

WEIGHTS = 3 * 3 * 1 * 8 + 3 * 3 * 8 * 12


def kept_of(density):
    return WEIGHTS - int((1 - density) * WEIGHTS)


def kernels(model):
    return {layer.name: layer.kernel.numpy() for layer in model.layers if layer.name.startswith("conv")}


def initial(result):
    return kernels(keras.saving.load_model(result.folder / "initial.keras"))


def same_weights(one, other):
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


@pytest.mark.parametrize("psg", [{}, {"psg": True, "psg_sparsify": True, "psg_relative_threshold": 1e-7}])
def test_only_signs_change_and_only_of_what_is_left(tiny_world, psg):
    result = tiny_world(density=0.3, tau=1e-8, **psg)
    assert result.masks.kept == kept_of(0.3) == result.numbers["kept"]
    flipped = 0
    for name, start in initial(result).items():
        mask, trained = result.masks[f"{name}/kernel"], kernels(result.model)[name]
        np.testing.assert_array_equal(np.abs(trained), np.abs(start) * mask)
        flipped += np.sum(trained[mask] != start[mask])
    assert 0 < flipped < result.masks.kept
    before = keras.saving.load_model(result.folder / "initial.keras").get_layer("fc").kernel.numpy()
    assert np.all(result.model.get_layer("fc").kernel.numpy() != before)


def test_sgd_trains_all_and_leaves_what_was_pruned_at_zero(tiny_world):
    result = tiny_world(pruner="Mag", density=0.5, optimizer="SGD", prune_iters=1, prune_classifier=True)
    assert set(result.masks) == {"conv0/kernel", "conv1/kernel", "fc/kernel"}
    for name, mask in result.masks.items():
        layer = name.partition("/")[0]
        trained = result.model.get_layer(layer).kernel.numpy()
        assert np.all(trained[~mask] == 0)
    start, trained = initial(result)["conv1"], kernels(result.model)["conv1"]
    kept = result.masks["conv1/kernel"]
    assert np.all(np.abs(trained[kept]) != np.abs(start[kept]))


def test_what_is_written(tiny_world):
    result = tiny_world()
    written = {path.name for path in result.folder.iterdir()}
    expected = (
        "settings.yaml initial.keras masks.npz masks.png best.keras trained.keras results.csv metrics checkpoints"
    )
    assert set(expected.split()) <= written
    assert Masks.load(result.folder / "masks.npz") == result.masks
    numbers = json.loads((result.folder / "results.json").read_text())
    rows = [json.loads(line) for line in (result.folder / "metrics" / "training.jsonl").read_text().splitlines()]
    assert numbers["accuracy"] == pytest.approx(rows[-1]["test_accuracy"])
    assert numbers["best_accuracy"] == pytest.approx(max(row["test_accuracy"] for row in rows))
    same_weights(keras.saving.load_model(result.folder / "trained.keras"), result.model)
    assert all(type(layer).__module__.startswith("keras.") for layer in result.model.layers)


def test_pruning_in_the_midst_of_training(tiny_world):
    result = tiny_world(density=0.2, prune_epoch=2, prune_shots=2, pruner="SNIP", prune_iters=1)
    first = Masks.load(result.folder / "masks_epoch1.npz")
    assert first.kept == kept_of(0.6)
    assert result.masks.kept == kept_of(0.2)
    assert result.masks & first == result.masks


def test_the_best_model_has_the_density_that_was_asked_for(tiny_world):
    """Epochs before the last pruning are denser, and often better."""
    result = tiny_world(density=0.2, prune_epoch=2, epochs=3, pruner="Mag", prune_iters=1)
    rows = [json.loads(line) for line in (result.folder / "metrics" / "training.jsonl").read_text().splitlines()]
    assert [row["density"] == 1 for row in rows] == [True, True, False]
    best = json.loads((result.folder / "best.json").read_text())
    assert (best["epoch"], best["test_accuracy"]) == (3, rows[2]["test_accuracy"])
    model = keras.saving.load_model(result.folder / "best.keras")
    assert sum(np.count_nonzero(kernel) for kernel in kernels(model).values()) == kept_of(0.2)
    assert read_record(result.folder / "best.keras")["numbers"]["epoch"] == 3


@pytest.mark.parametrize("psg", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_unbroken(tiny_world, monkeypatch, psg):
    settings = {"psg": psg, "prune_epoch": 2, "density": 0.4, "pruner": "GraSP", "prune_iters": 1, "tau": 1e-8}
    unbroken = tiny_world("unbroken", **settings)
    set_masks = method.set_masks
    monkeypatch.setattr(method, "set_masks", lambda *_: 1 / 0)  # a kill between the pruning and its effect
    with pytest.raises(ZeroDivisionError):
        tiny_world("killed", **settings)
    monkeypatch.setattr(method, "set_masks", set_masks)
    with pytest.raises(RunFolderError, match="add --resume"):
        tiny_world("killed", **settings)
    resumed = tiny_world("killed", resume=True, **settings)
    same_weights(resumed.model, unbroken.model)
    assert resumed.masks == unbroken.masks
    assert resumed.numbers["best_accuracy"] == unbroken.numbers["best_accuracy"]


def test_given_masks(tiny_world, tmp_path):
    masks = tiny_world("first", epochs=0).masks
    masks.save(tmp_path / "ticket.npz")
    again = tiny_world("second", masks=str(tmp_path / "ticket.npz"), epochs=1)
    assert again.masks == masks
    others = Masks({"conv0/kernel": np.ones((3, 3, 1, 8)), "conv1/kernel": np.ones((3, 3, 8, 13))})
    others.save(tmp_path / "others.npz")
    with pytest.raises(ConfigError, match="conv1/kernel"):
        tiny_world("third", masks=str(tmp_path / "others.npz"))
    assert not (tmp_path / "third").exists()


def test_without_training_the_network_is_the_pruned_one(tiny_world):
    result = tiny_world(epochs=0, pruner="random", density=0.25, prune_iters=1)
    for name, start in initial(result).items():
        np.testing.assert_array_equal(kernels(result.model)[name], start * result.masks[f"{name}/kernel"])


def test_unknown_pruner_makes_no_folder(tiny_world, tmp_path):
    with pytest.raises(ConfigError, match="SynFlo"):
        tiny_world("none", pruner="SynFlo")
    assert not (tmp_path / "none").exists()
