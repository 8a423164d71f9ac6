"""Whole runs on a narrow network."""

import csv
import json
import signal
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.event_files import check_histogram, read_events
from tfprune.errors import ConfigError
from tfprune.exporting import read_record
from tfprune.layers import GlobalSubnet, subnet_layers
from tfprune.recipes.data import BatchRequest
from tfprune.recipes.training import Loop, evaluate


def arrays(model):
    return {variable.path: np.asarray(variable).copy() for variable in model.variables}


def same(one, other):
    assert one.keys() == other.keys()
    for path, value in one.items():
        np.testing.assert_array_equal(value, other[path], err_msg=path)


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_and_its_files(tiny_world, few_digits, tmp_path):
    result = tiny_world(save_every=1, histograms=True, export=True)
    assert result.folder == Path("run")
    first, best, last = (keras.saving.load_model(f"run/{name}.keras") for name in ("initial", "best", "trained"))
    same(arrays(last), arrays(result.model))
    for layer, before, saved in zip(*map(subnet_layers, (result.model, first, last)), strict=True):
        np.testing.assert_array_equal(layer.kernel, before.kernel)
        assert (np.asarray(layer.scores) != np.asarray(before.scores)).mean() > 0.9
        kept = np.abs(np.asarray(layer.scores))[np.asarray(saved.mask)]
        size = int(np.prod(layer.mask.shape))
        assert kept.size == size - int(0.7 * size)
        assert kept.min() >= np.abs(np.asarray(layer.scores))[~np.asarray(saved.mask)].max()
    assert (np.asarray(subnet_layers(last)[1].mask) != np.asarray(subnet_layers(first)[1].mask)).any()
    numbers = json.loads(Path("run/results.json").read_text())
    assert numbers == result.numbers
    tested = evaluate(last, few_digits.test_batches(60))
    assert (tested.top1, tested.top5) == pytest.approx((numbers["accuracy"], numbers["top5"]))
    epochs = rows("run/metrics/training.csv")
    chosen = max(epochs, key=lambda row: float(row["test_accuracy"]))
    assert float(chosen["test_accuracy"]) == numbers["best_accuracy"]
    assert int(chosen["epoch"]) == numbers["best_epoch"] == read_record("run/best.keras")["numbers"]["epoch"]
    same(arrays(best), arrays(keras.saving.load_model(f"run/epoch_{chosen['epoch']}.keras")))
    notes = read_record("run/trained.keras")
    assert notes["dataset"] == "digits"
    assert (notes["arch"], notes["num_classes"], notes["numbers"]["epoch"]) == ("Conv2", 10, 2)
    np.testing.assert_allclose(
        (few_digits.test_images[:1] - np.float32(notes["mean"])) / np.float32(notes["std"]),
        few_digits.normalize(few_digits.test_images[:1]),
        rtol=1e-6,
    )
    plain = tf.saved_model.load("run/saved_model")
    images = few_digits.normalize(few_digits.test_images)
    np.testing.assert_allclose(plain.serve(images), last(images, training=False), atol=1e-5)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_densities_and_scores_of_each_layer(tiny_world, scope):
    ramp = {"density_ramp_epochs": 1} if scope == "global" else {}
    result = tiny_world(density=0.2, scope=scope, save_every=1, **ramp)
    found, written = rows("run/metrics/training_weights.csv"), read_events(result.folder / "events" / "training")
    scores = read_events(result.folder / "events" / "scores")
    assert [int(row["epoch"]) for row in found] == [1] * 5 + [2] * 5
    for epoch in (1, 2):
        saved = keras.saving.load_model(f"run/epoch_{epoch}.keras" if epoch == 1 else "run/trained.keras")
        for layer, row in zip(subnet_layers(saved), [row for row in found if int(row["epoch"]) == epoch], strict=True):
            assert row["weight"] == f"{layer.name}/kernel"
            assert float(row["density"]) == pytest.approx(np.mean(layer.mask))
            assert float(written[f"density/{row['weight']}", int(row["step"])]) == pytest.approx(float(row["density"]))
            check_histogram(scores[f"scores/{row['weight']}", epoch], np.asarray(layer.scores))
    assert [(row["weight"], int(row["kept"]), int(row["of"])) for row in rows("run/density.csv")] == [
        (f"{layer.name}/kernel", np.count_nonzero(layer.mask), np.size(layer.mask)) for layer in subnet_layers(saved)
    ]


@pytest.mark.slow
def test_histograms(tiny_world, few_digits):
    model = tiny_world(histograms=True, density=0.2, scope="global", density_ramp_epochs=1, accum=2).model
    (file,) = Path("run/events/histograms").iterdir()
    found = {}
    for event in tf.compat.v1.train.summary_iterator(str(file)):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, tf.make_ndarray(value.tensor)))
    assert [step for step, _ in found["fc/scores"]] == [1, 2]
    assert "fc/mask" not in found
    saved = keras.saving.load_model("run/trained.keras")
    assert float(found["kept/fc"][-1][1]) == pytest.approx(np.mean(saved.get_layer("fc").mask))
    last = found["fc/scores"][-1][1]
    assert last[:, 2].sum() == 16 * 10
    assert last[-1, 1] == pytest.approx(np.asarray(saved.get_layer("fc").scores).max())
    batch = next(iter(few_digits.training_batches(BatchRequest(batch_size=50, epochs=1, seed=3))))
    with tf.GradientTape() as tape:  # of the first chunk, as a step sees it
        logits = model(batch["images"][:25], training=True)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(batch["labels"][:25], logits)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    assert {tag for tag in found if tag.startswith("gradients/")} == {
        f"gradients/{variable.path}" for variable in model.trainable_variables
    }
    for variable, gradient in zip(model.trainable_variables, map(np.asarray, gradients), strict=True):
        (first, _), (second, bins) = found[f"gradients/{variable.path}"]
        edges = np.append(bins[:, 0], bins[-1, 1])
        counts = np.histogram(gradient, edges)[0]
        assert (first, second, counts.sum()) == (1, 2, np.size(gradient))
        assert (edges[0], edges[-1]) == pytest.approx((np.min(gradient), np.max(gradient)), rel=1e-4)
        assert np.abs(counts - bins[:, 2]).sum() <= 0.01 * np.size(gradient) + 2  # rounding moves some over an edge
    assert Path("run/events/training").is_dir()


def test_a_run_of_older_names_is_resumed_with_the_names_of_today(tiny_world):
    result = tiny_world(epochs=1)
    for today, before in {"initial": "first", "trained": "last"}.items():
        Path(f"run/{today}.keras").rename(f"run/{before}.keras")
        manifest = Path("run/run.json")
        manifest.write_text(manifest.read_text().replace(f"{today}.keras", f"{before}.keras"))
    initial = arrays(keras.saving.load_model("run/first.keras"))
    assert tiny_world(epochs=1, resume=True).numbers["accuracy"] == result.numbers["accuracy"]
    assert read_record("run/trained.keras")["numbers"]["epoch"] == 1
    same(arrays(keras.saving.load_model("run/trained.keras")), arrays(result.model))
    same(arrays(keras.saving.load_model("run/initial.keras")), initial)


def test_the_density_falls_and_only_its_end_counts_as_best(tiny_world):
    """Oddity 5: an epoch of the ramp, with more weights, can be the original's best."""
    result = tiny_world(density=0.1, scope="global", density_ramp_epochs=3, epochs=4)
    assert isinstance(result.model, GlobalSubnet)
    total = sum(int(np.prod(layer.mask.shape)) for layer in subnet_layers(result.model))
    assert result.numbers["kept"] == total - int(0.9 * total)
    found = [float(row["density"]) for row in rows("run/metrics/training.csv")]
    assert found == pytest.approx([0.1 + 0.4 * (1 - epoch / 3) ** 3 for epoch in range(4)])
    assert result.numbers["best_epoch"] == 4
    best = keras.saving.load_model("run/best.keras")
    assert sum(int(np.sum(layer.mask)) for layer in subnet_layers(best)) == result.numbers["kept"]


SETTINGS = {
    "sgd": {},
    "global_adam": {"scope": "global", "density_ramp_epochs": 2, "optimizer": "adam", "binary_activations": True},
    "augmix": {"augmix": True, "jsd": True, "learn_batchnorm": True, "binary_activations": True, "bn_decay": False},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tiny_world, monkeypatch, name):
    """In the middle of an epoch by Ctrl-C, and again at the end of one by a crash before its checkpoint."""
    settings = SETTINGS[name] | {"epochs": 3, "learning_rate": 0.1}
    whole = tiny_world("whole", **settings)
    step, count = Loop.run_step, [0]

    def interrupted(self, batch):
        count[0] += 1
        if count[0] == 6:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "run_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny_world("broken", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(
            "tfprune.recipes.training.logs.Journal.write_epoch", lambda *_: (_ for _ in ()).throw(OSError("gone"))
        )
        with pytest.raises(OSError, match="gone"):
            tiny_world("broken", resume=True, **settings)
    resumed = tiny_world("broken", resume=True, **settings)
    assert count[0] == 6
    same(arrays(whole.model), arrays(resumed.model))
    for name in ("best", "trained"):
        same(*(arrays(keras.saving.load_model(f"{folder}/{name}.keras")) for folder in ("whole", "broken")))
    assert Path("whole/metrics/training.csv").read_text() == Path("broken/metrics/training.csv").read_text()
    again = tiny_world("broken", resume=True, **settings)
    assert again.numbers["finished"] == resumed.numbers["finished"]
    assert [row["folder"] for row in rows("results.csv")] == ["whole", "broken"]


@pytest.mark.slow
@pytest.mark.parametrize("selection", ["sampled", "fixed"])
def test_other_selections(tiny_world, selection):
    settings = {"selection": selection, "batch_norm": "affine", "learn_batchnorm": True, "binary_activations": True}
    with pytest.raises(ConfigError, match="expected --no_export") if selection == "sampled" else nullcontext():
        tiny_world("exported", **settings, export=True, epochs=0)
    result = tiny_world(**settings, epochs=1)
    before, after = (keras.saving.load_model(f"run/{name}.keras") for name in ("initial", "trained"))
    for one, other in zip(*map(subnet_layers, (before, after)), strict=True):
        assert np.array_equal(one.scores, other.scores) is (selection == "fixed")
        np.testing.assert_array_equal(one.mask, other.mask)
    share = 0.3 if selection == "fixed" else 0.5  # scores begin around 0
    assert result.numbers["density"] == pytest.approx(share, abs=0.02)
