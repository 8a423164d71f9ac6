"""Rate, flips and densities in the tables and events of a run."""

import csv
import json
import os
import signal
from itertools import pairwise

import keras
import numpy as np
import pytest

from tests.event_files import check_histogram, read_events
from tfprune.graph import prunable_weights
from tfprune.masks import Masks
from tfprune.recipes.peekaboo.method import Peekaboo
from tfprune.recipes.training import Loop


def table(result, name):
    with (result.folder / "metrics" / f"{name}.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    lines = (result.folder / "metrics" / f"{name}.jsonl").read_text().splitlines()
    assert [{key: str(value) for key, value in json.loads(line).items()} for line in lines] == found
    return found


@pytest.fixture
def signs(monkeypatch):
    """Kernels of a run before it, and after each epoch."""
    seen, train, tested = [], Peekaboo.train, Peekaboo._test_epoch

    def look(model):
        kernels = prunable_weights(model).items()
        seen.append({name.partition("/")[0]: np.copy(np.asarray(kernel)) for name, kernel in kernels})

    def watched_training(self, sparse, *args, **options):
        look(sparse)
        return train(self, sparse, *args, **options)

    def watched_test(self, sparse, optimizer):
        look(sparse)
        return tested(self, sparse, optimizer)

    monkeypatch.setattr(Peekaboo, "train", watched_training)
    monkeypatch.setattr(Peekaboo, "_test_epoch", watched_test)
    return seen


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_flips_rate_and_density_of_each_epoch(tiny_world, signs, precision):
    """One step is an epoch here, so that what flipped is what has another sign."""
    result = tiny_world(
        batch_size=200, epochs=5, tau=1e-9, ar=0.3, ar_decay_freq=2, milestones=(3,), density=0.4, precision=precision
    )
    rows, weights = table(result, "training"), table(result, "training_weights")
    assert list(rows[0])[-5:] == ["test_loss", "test_accuracy", "density", "ar", "flips"]
    assert list(weights[0]) == ["epoch", "step", "weight", "density", "flips"]
    assert [row["weight"] for row in weights] == ["conv0/kernel", "conv1/kernel"] * 5
    flipped = [
        {name: int((before[name] != after[name]).sum()) for name in ("conv0", "conv1")}
        for before, after in pairwise(signs)
    ]
    assert [int(row["flips"]) for row in rows] == [sum(counts.values()) for counts in flipped]
    assert [int(row["flips"]) for row in weights] == [count for counts in flipped for count in counts.values()]
    assert sum(int(row["flips"]) > 0 for row in rows) >= 3
    assert [float(row["ar"]) for row in rows] == pytest.approx([0.3, 0.3, 0.3 * 0.15, 0.3 * 0.15, 0.3 * 0.15**2])
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.1] * 3 + [0.01] * 2)
    assert {float(row["density"]) for row in rows} == {result.masks.density}
    for row in weights:
        kept, size = result.masks.counts[row["weight"]]
        assert float(row["density"]) == pytest.approx(kept / size, rel=1e-12)
    seen = read_events(result.folder / "events" / "training")
    for step, row in enumerate(rows, start=1):
        for name in ("ar", "flips", "density"):
            assert float(seen[f"epoch/{name}", step]) == pytest.approx(float(row[name]), rel=1e-6)
    for row in weights:
        for name in ("flips", "density"):
            assert float(seen[f"{name}/{row['weight']}", int(row["step"])]) == pytest.approx(float(row[name]), rel=1e-6)


def test_sgd_has_neither_rate_nor_flips(tiny_world):
    result = tiny_world(optimizer="SGD", pruner="Mag", prune_iters=1, epochs=1)
    (row,) = table(result, "training")
    assert {"ar", "flips"}.isdisjoint(row)
    assert float(row["density"]) == result.masks.density
    assert list(table(result, "training_weights")[0]) == ["epoch", "step", "weight", "density"]


def test_densities_and_scores_of_each_pruning(tiny_world):
    result = tiny_world(pruner="Mag", prune_iters=1, density=0.2, epochs=4, prune_epoch=2, prune_shots=2, tau=1e-8)
    found = [float(row["density"]) for row in table(result, "training")]
    assert found == pytest.approx([1, 0.6, 0.2, 0.2], abs=1e-3)
    by_weight = [float(row["density"]) for row in table(result, "training_weights") if row["weight"] == "conv1/kernel"]
    first = Masks.load(result.folder / "masks_epoch1.npz")
    expected = [1, first["conv1/kernel"].mean(), *[result.masks["conv1/kernel"].mean()] * 2]
    assert by_weight == pytest.approx(expected, rel=1e-12)
    with (result.folder / "density.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    counts = {row["weight"]: (int(row["kept"]), int(row["of"])) for row in rows}
    assert counts == result.masks.counts
    assert [float(row["density"]) for row in rows] == pytest.approx([kept / size for kept, size in counts.values()])
    scores = read_events(result.folder / "events" / "scores")
    assert {step for _, step in scores} == {1, 2}
    start = keras.saving.load_model(result.folder / "initial.keras")
    for name, weight in prunable_weights(start).items():
        if name in result.masks:  # Bop keeps magnitudes, so those of the start decided
            values = np.abs(np.asarray(weight, np.float64))
            check_histogram(scores[f"scores/{name}", 1], values)
            check_histogram(scores[f"scores_log10/{name}", 1], np.log10(values))


def test_flips_of_an_epoch_that_was_interrupted(tiny_world, monkeypatch):
    settings = {"density": 0.5, "tau": 1e-8, "ar": 0.3, "prune_iters": 1, "batch_size": 25}
    unbroken, step, steps = tiny_world("unbroken", **settings), Loop.run_step, []

    def interrupted(self, batch):
        steps.append(1)
        if len(steps) == 12:  # the fourth of the second epoch
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "run_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny_world("broken", **settings)
    assert len(steps) == 12
    resumed = tiny_world("broken", resume=True, **settings)
    for name in ("training", "training_weights"):
        assert table(resumed, name) == table(unbroken, name)
    assert all(int(row["flips"]) for row in table(resumed, "training"))
    seen, expected = (read_events(result.folder / "events" / "training") for result in (resumed, unbroken))
    assert {key: float(value) for key, value in seen.items()} == {key: float(value) for key, value in expected.items()}
