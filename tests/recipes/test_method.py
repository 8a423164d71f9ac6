"""A new method in one module: it runs, resumes and writes results."""

import csv
import json
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
import pytest

from tests.models import tiny_architecture
from tfprune.cli.programs import train_cifar
from tfprune.errors import ConfigError, RunFolderError
from tfprune.graph import convert, prunable_weights
from tfprune.masks import Masks
from tfprune.recipes import Method, Result, catalog
from tfprune.recipes.method import plain
from tfprune.recipes.run_config import RunConfig
from tfprune.recipes.training import Loop
from tfprune.settings import setting


@dataclass(frozen=True)
class LotConfig(RunConfig):
    """Lot: prunes by lot, then trains."""

    method: Literal["lot"] = "lot"
    arch: str = setting("tiny", "Architecture.", group="data and model")
    density: float = setting(0.25, "Fraction of the weights that is kept.", group="pruning", above=0, at_most=1)
    epochs: int = setting(2, "Epochs of training.", group="training", above=0)


class Lot(Method[LotConfig]):
    """Prunes by lot, then trains."""

    drawn = 0

    def setup(self):
        shape = {"num_classes": self.data.num_classes, "input_shape": self.data.input_shape}
        self.model = tiny_architecture(**shape, seed=self.config.seed)

    def stages(self):
        self.save_initial(self.model)
        masks = self.cached("masks.npz", self.draw, Masks.load, Masks.save)
        sparse, sgd = self.trainable(
            self.model, lambda fast: convert(fast, "masked", masks), lambda _: keras.optimizers.SGD(0.1, momentum=0.9)
        )
        with self.times.stage("training"):
            self.train(
                sparse,
                sgd,
                epochs=self.config.epochs,
                after_epoch=lambda accuracy: self.keep_best({"test_accuracy": accuracy}, lambda: plain(sparse)),
            )
        return plain(sparse), masks

    def draw(self) -> Masks:
        Lot.drawn += 1
        rng = np.random.default_rng(self.config.seed)
        return Masks(
            {name: rng.random(w.shape) < self.config.density for name, w in prunable_weights(self.model).items()}
        )


@pytest.fixture
def run(few_digits, tmp_path):
    def run_lot(name="run", **changes) -> Result:
        settings = {"batch_size": 50, "dataset": "digits", "export": False, "train_path": str(tmp_path / name)}
        return Lot(LotConfig(**settings | changes), few_digits).run()

    return run_lot


def test_results_and_files(run, few_digits, capsys):
    result = run(export=True)
    numbers = result.numbers
    stages = ["training_seconds"]
    columns = ["accuracy", "top5", "loss", "density", "kept", "prunable", "collapsed_layers", *stages]
    with (result.folder / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == list(numbers) == columns
    assert numbers["kept"] == result.masks.kept == Masks.load(result.folder / "masks.npz").kept
    assert numbers["density"] == pytest.approx(0.25, abs=0.03)
    for name, weight in prunable_weights(result.model).items():
        assert not np.asarray(weight)[~result.masks[name]].any()
    saved = keras.saving.load_model(result.folder / "trained.keras")
    for one, other in zip(saved.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    rows = [json.loads(line) for line in (result.folder / "metrics/training.jsonl").read_text().splitlines()]
    assert numbers["accuracy"] == pytest.approx(rows[-1]["test_accuracy"])
    best = json.loads((result.folder / "best.json").read_text())
    assert best["test_accuracy"] == max(row["test_accuracy"] for row in rows)
    best_model = keras.saving.load_model(result.folder / "best.keras")
    labels = best_model(few_digits.normalize(few_digits.test_images)).numpy().argmax(1)
    assert np.mean(labels == few_digits.test_labels) == pytest.approx(best["test_accuracy"])
    made = {path.name for path in result.folder.iterdir()}
    assert {"settings.yaml", "environment.json", "initial.keras", "checkpoints", "saved_model", "seconds.json"} <= made
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith(f"tiny: {numbers['kept']:,} of {numbers['prunable']:,} weights kept (")
    assert lines[-1] == f"results in {result.folder}"


def test_a_resumed_run_is_the_unbroken_one(run, monkeypatch):
    unbroken, step, steps = run("unbroken"), Loop.run_step, []

    def killed(self, batch):
        steps.append(1)
        if len(steps) == 6:
            raise SystemError("killed")
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "run_step", killed)
        with pytest.raises(SystemError):
            run("killed")
    with pytest.raises(RunFolderError, match="add --resume"):
        run("killed")
    drawn = Lot.drawn
    resumed = run("killed", resume=True)
    assert Lot.drawn == drawn
    assert resumed.masks == unbroken.masks
    for one, other in zip(resumed.model.get_weights(), unbroken.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for name in ("metrics/training.csv", "best.json"):
        assert (resumed.folder / name).read_text() == (unbroken.folder / name).read_text()


def test_errors_come_before_the_folder(run, tmp_path, few_digits):
    with pytest.raises(ConfigError, match="batch size from 1 to the 200"):
        run(batch_size=201)
    assert not (tmp_path / "run").exists()
    assert Lot(LotConfig(batch_size=50, dataset="digits"), few_digits).default_path == "runs/lot/tiny-digits"


def test_a_registered_method_is_a_program(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(catalog, "_METHODS", dict(catalog._METHODS))
    catalog.register_method(LotConfig, lambda config: Lot(config).run())
    words = ["--method", "lot", "--dataset", "digits", "--epochs", "1", "--no_export", "--density", "0.5"]
    words += ["--train_path", str(tmp_path / "run")]
    assert train_cifar(words) == 0
    numbers = json.loads((tmp_path / "run" / "results.json").read_text())
    assert numbers["density"] == pytest.approx(0.5, abs=0.05)
    assert capsys.readouterr().out.endswith(f"results in {tmp_path / 'run'}\n")
    assert train_cifar(words) == 2
    assert "already holds a run: add --resume" in capsys.readouterr().err
    assert train_cifar([*words, "--resume"]) == 0
