"""All stages on a small network; `test_whole_runs.py` has the real programs."""

import csv
import json
from importlib import import_module

import keras
import numpy as np
import pytest
import yaml

from tfprune.errors import ConfigError, RunFolderError
from tfprune.graph import complexity
from tfprune.recipes import method as base
from tfprune.recipes.data import ImageData, search_subsets
from tfprune.recipes.ekg import KnowledgeObjective, MemoryBank, stages
from tfprune.recipes.ekg import method as ekg
from tfprune.recipes.training import CrossEntropy, evaluate
from tfprune.recipes.training.loop import Loop
from tfprune.search.greedy import Search

from .conftest import tiny_config


class Stop(Exception):
    """A kill."""


@pytest.fixture(scope="module")
def small_world(tiny, few_digits):
    """The method with little data, `tiny` for every network that is loaded, and no time spent on latency."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "open_images", lambda config: few_digits)
        patch.setattr(ekg, "load_baseline", lambda config, data: tiny)
        patch.setattr(base, "load_checkpoint", lambda path, **_: keras.saving.load_model(path))
        latency = type("Latency", (), {"median_ms": 1.5})
        patch.setattr(ekg, "compare_latency", lambda models: dict.fromkeys(models, latency))
        yield


def run(folder, **changes):
    return ekg.run(tiny_config(**({"train_path": str(folder), "export": False} | changes)))


@pytest.fixture(scope="module")
def unbroken(small_world, tmp_path_factory):
    return run(tmp_path_factory.mktemp("method") / "run")


def tables(folder):
    """All metrics but the seconds."""
    found = {}
    for path in sorted((folder / "metrics").glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        found[path.stem] = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    return found


def same_weights(one, other):
    return all(np.array_equal(*pair) for pair in zip(one.get_weights(), other.get_weights(), strict=True))


def test_what_stands_in_the_folder(unbroken):
    assert {path.name for path in unbroken.folder.iterdir()} == {
        "baseline.keras",
        "checkpoints",
        "digits_knowledge",
        "environment.json",
        "events",
        "trained.keras",
        "metrics",
        "results.csv",
        "results.json",
        "run.json",
        "search.npz",
        "seconds.json",
        "settings.yaml",
        "slimmed.keras",
        "warmed_up.keras",
    }
    made = json.loads((unbroken.folder / "run.json").read_text())["made"]
    assert {path.name for path in unbroken.folder.iterdir()} == {*made, "run.json"}


def test_the_numbers(unbroken, tiny, few_digits):
    numbers = unbroken.numbers
    assert numbers == json.loads((unbroken.folder / "results.json").read_text())
    with (unbroken.folder / "results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row == {name: str(value) for name, value in numbers.items()}
    files = {"before": "baseline.keras", "after": "trained.keras"}
    batch = {"images": few_digits.normalize(few_digits.test_images), "labels": few_digits.test_labels}
    for name, model in {"before": tiny, "after": unbroken.model}.items():
        tested, cost = evaluate(model, [batch]), complexity(model)
        assert numbers[f"{name}_accuracy"] == pytest.approx(tested.top1)
        assert numbers[f"{name}_top5"] == pytest.approx(tested.top5)
        assert numbers[f"{name}_loss"] == pytest.approx(tested.loss, rel=1e-4)
        assert (numbers[f"{name}_flops"], numbers[f"{name}_params"]) == (cost.flops, cost.params)
        assert numbers[f"{name}_file_bytes"] == (unbroken.folder / files[name]).stat().st_size
        assert numbers[f"{name}_latency_ms"] == 1.5
    assert numbers["after_flops"] <= 0.8 * numbers["before_flops"]
    slimmed = keras.saving.load_model(unbroken.folder / "slimmed.keras")
    assert numbers["slimmed_accuracy"] == pytest.approx(evaluate(slimmed, [batch]).top1)
    stages = {"warm_up", "search", "memory_bank", "fine_tuning"}
    assert {name.removesuffix("_seconds") for name in numbers if name.endswith("_seconds")} == stages


def test_the_files_hold_the_models(unbroken, tiny):
    assert same_weights(keras.saving.load_model(unbroken.folder / "trained.keras"), unbroken.model)
    assert same_weights(keras.saving.load_model(unbroken.folder / "baseline.keras"), tiny)
    slimmed = keras.saving.load_model(unbroken.folder / "slimmed.keras")
    assert [weight.shape for weight in slimmed.weights] == [weight.shape for weight in unbroken.model.weights]
    assert not same_weights(slimmed, unbroken.model)


def test_the_table_on_the_screen(unbroken, small_world, capsys):
    run(unbroken.folder, resume=True)
    shown = capsys.readouterr().out
    for text in (f"{unbroken.numbers['after_accuracy']:.2%}", f"{unbroken.numbers['after_params']:,}", "1.50 ms"):
        assert text in shown
    assert shown.endswith(f"results in {unbroken.folder}\n")


def test_the_slimmed_network_was_recalibrated(unbroken, few_digits):
    """Its moving averages are those of its own activations: both modes of batch norm nearly agree."""
    slimmed = keras.saving.load_model(unbroken.folder / "slimmed.keras")
    batch = {"images": few_digits.normalize(few_digits.train_images), "labels": few_digits.train_labels}
    own = evaluate(slimmed, [batch], batch_statistics=True).loss
    assert evaluate(slimmed, [batch]).loss == pytest.approx(own, rel=0.1)


PLACES = {
    "after the warm-up": (ekg, "run_search", 1),
    "in the search": (stages, "save_state", 2),
    "in the memory bank": (MemoryBank, "build", 1),
    "before slimming is kept": (ekg, "recalibrate_batch_norm", 1),
    "at the first step of fine-tuning": (Loop, "run_step", 6),  # the warm-up takes five
    "in the second epoch of fine-tuning": (Loop, "run_step", 13),
    "in the report": (ekg, "complexity", 2),  # the first is at the start of fine-tuning
}


QUICK = ("in the second epoch of fine-tuning",)


@pytest.mark.parametrize("place", [p if p in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in PLACES])
def test_killed_and_resumed_equals_unbroken(unbroken, small_world, tmp_path, monkeypatch, place):
    owner, name, number = PLACES[place]
    real, calls = getattr(owner, name), []

    def die(*arguments, **settings):
        calls.append(1)
        if len(calls) == number:
            raise Stop
        return real(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, die)
        with pytest.raises(Stop):
            run(tmp_path / "run")
    done = {"searched": 0, "warmed_up": 0, "trained": 0}

    def count(what, function):
        def counted(*arguments, **settings):
            done[what] += 1
            return function(*arguments, **settings)

        return counted

    monkeypatch.setattr(Search, "step", count("searched", Search.step))
    monkeypatch.setattr(ekg, "warm_up", count("warmed_up", ekg.warm_up))
    monkeypatch.setattr(Loop, "run_step", count("trained", Loop.run_step))
    resumed = run(tmp_path / "run", resume=True)
    assert same_weights(resumed.model, unbroken.model)
    assert tables(resumed.folder) == tables(unbroken.folder)
    assert set(resumed.numbers) == set(unbroken.numbers)
    assert done["warmed_up"] == 0
    steps = len(tables(unbroken.folder)["search"])
    assert done["searched"] == {"after the warm-up": steps, "in the search": steps - 1}.get(place, 0)
    assert done["trained"] == {"in the report": 0, "in the second epoch of fine-tuning": 5}.get(place, 10)


# ------------------------------------------------------------------------------------------------ what settings do


@pytest.fixture
def calls(small_world, monkeypatch):
    """The arguments that the stages were given; training itself is left out."""
    received = {}

    def record(name, owner, replacement=None):
        real = replacement or getattr(owner, name)

        def spy(*arguments, **settings):
            received[name] = (arguments, settings)
            return real(*arguments, **settings)

        monkeypatch.setattr(owner, name, spy)

    for name in ("warm_up", "run_search"):
        record(name, ekg)
    for name in ("open_strategy", "open_images"):
        record(name, base)
    for name in ("trained", "test"):
        record(name, ekg.EKGMethod)
    record("Loop", import_module("tfprune.recipes.training.train"))
    record("fit", Loop, lambda *_, **__: [])
    record("training_batches", ImageData)
    return received


def first_batch(calls):
    return next(iter(calls["fit"][0][1](0)))


def test_with_knowledge(calls, tmp_path):
    run(tmp_path / "run", num_teacher=2)
    settings = calls["trained"][1]
    assert isinstance(calls["Loop"][0][2], KnowledgeObjective)
    batch = first_batch(calls)
    assert batch["images"].shape == (40, 2, 8, 8, 1)
    assert batch["knowledge"].shape == (40, 10, 2)
    assert calls["training_batches"][0][1].color_jitter
    assert (settings["name"], settings["epochs"], settings["learning_rate"]) == ("finetuning", 2, 0.01)


def test_without_knowledge_no_bank_is_built(calls, tmp_path):
    result = run(tmp_path / "run", Knowledge=False)
    assert not list(result.folder.glob("*knowledge*"))
    assert isinstance(calls["Loop"][0][2], CrossEntropy)
    batch = first_batch(calls)
    assert set(batch) == {"images", "labels"}
    assert batch["images"].shape == (40, 8, 8, 1)
    assert "memory_bank_seconds" not in result.numbers


def test_training_settings_are_handed_on(calls, tmp_path):
    run(tmp_path / "run", train_epoch=3, learning_rate=0.125, batch_size=25, seed=7, Knowledge=False)
    _, settings = calls["trained"]
    assert (settings["epochs"], settings["learning_rate"]) == (3, 0.125)
    first_batch(calls)
    request = calls["training_batches"][0][1]
    assert {name: getattr(request, name) for name in ("batch_size", "epochs", "seed", "start_step")} == {
        "batch_size": 25,
        "epochs": 3,
        "seed": 7,
        "start_step": 0,
    }


def test_the_subsets(calls, tmp_path, few_digits):
    run(tmp_path / "run", train_epoch=0, search_images=3, pretrain_images=5, search_seed=9)
    expected = search_subsets(few_digits, validation_per_class=3, training_per_class=5, seed=9)
    assert len(expected.validation) == 30
    np.testing.assert_array_equal(calls["run_search"][0][3], expected.validation)
    np.testing.assert_array_equal(calls["warm_up"][0][3], expected.training)


def test_all_stages_use_the_same_fraction_of_the_images(calls, tmp_path, few_digits):
    result = run(tmp_path / "run", fraction=0.8, num_teacher=2)
    first_batch(calls)
    images = calls["training_batches"][0][0]
    assert np.bincount(images.train_labels).tolist() == [16] * 10
    known = {image.tobytes() for image in few_digits.train_images}
    assert {image.tobytes() for image in images.train_images} < known
    for name in ("warm_up", "run_search"):
        assert calls[name][0][2] is images
        assert max(calls[name][0][3]) < 160
    shards = sorted((result.folder / "digits_knowledge").glob("shard-*.npy"))
    assert sum(len(np.load(shard)) for shard in shards) == 160
    assert yaml.safe_load((result.folder / "settings.yaml").read_text())["fraction"] == 0.8
    with pytest.raises(ConfigError, match="--batch_size: expected at most the 20 training images"):
        run(tmp_path / "few", fraction=0.1)


def test_one_epoch_is_trained_at_the_learning_rate_that_is_given(small_world, tmp_path, capsys):
    result = run(tmp_path / "run", train_epoch=1, learning_rate=0.25, searching=False)
    assert [row["learning_rate"] for row in tables(result.folder)["finetuning"]] == [0.25]
    assert (
        "warning: --decay_points: the learning rate does not drop in epochs 1, 2, 3: the training has 1\n"
        in capsys.readouterr().out
    )


def test_train_epoch_0_stops_after_slimming(calls, tmp_path):
    result = run(tmp_path / "run", train_epoch=0)
    assert "trained" not in calls
    assert not list(result.folder.glob("*knowledge*"))  # nobody would read it
    assert same_weights(result.model, keras.saving.load_model(result.folder / "slimmed.keras"))
    assert result.numbers["after_accuracy"] == result.numbers["slimmed_accuracy"]


def test_without_searching_the_network_is_tuned_as_it_is(calls, tmp_path, tiny):
    result = run(tmp_path / "run", searching=False)
    assert calls["trained"][0][1] is tiny
    assert isinstance(calls["Loop"][0][2], CrossEntropy)
    assert not {"run_search", "warm_up"} & set(calls)
    assert not {"search.npz", "slimmed.keras", "warmed_up.keras"} & {path.name for path in result.folder.iterdir()}
    assert result.numbers["after_flops"] == result.numbers["before_flops"]


@pytest.mark.slow
def test_export_is_a_switch(calls, tmp_path, monkeypatch):
    exported = []
    monkeypatch.setattr(base, "export_saved_model", lambda model, path, record: exported.append((model, path)))
    run(tmp_path / "without", train_epoch=0)
    assert exported == []
    result = run(tmp_path / "with", train_epoch=0, export=True)
    assert exported == [(result.model, result.folder / "saved_model")]


@pytest.mark.slow
def test_the_target_decides_the_flops(calls, tmp_path):
    rates = []
    for target in (0.9, 0.5):
        numbers = run(tmp_path / str(target), train_epoch=0, search_target_rate=target).numbers
        rates.append(numbers["after_flops"] / numbers["before_flops"])
        assert rates[-1] <= target
    assert rates[0] > 0.6


@pytest.mark.slow
def test_default_folder_is_named_after_the_run(calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = ekg.run(tiny_config(train_epoch=0, export=False))
    assert str(result.folder) == "runs/ekg/ResNet-20-digits-0.8"
    assert (tmp_path / result.folder / "results.json").exists()


def test_data_path_and_devices_are_handed_on(calls, tmp_path):
    run(tmp_path / "run", train_epoch=0, data_path="somewhere", gpu_id=(0,))
    assert calls["open_images"][0][0].data_path == "somewhere"
    assert calls["open_strategy"][0][0].gpu_id == (0,)


def test_the_report_tests_as_the_settings_say(calls, tmp_path):
    run(tmp_path / "run", train_epoch=0, batch_statistics=True, val_batch_size=30)
    config = calls["test"][0][0].config
    assert (config.batch_statistics, config.val_batch_size) == (True, 30)


def test_environment_and_settings_are_kept(calls, tmp_path):
    result = run(tmp_path / "run", train_epoch=0, seed=11)
    assert json.loads((result.folder / "environment.json").read_text())["seed"] == 11
    settings = yaml.safe_load((result.folder / "settings.yaml").read_text())
    assert settings == yaml.safe_load(yaml.safe_dump(tiny_config(train_epoch=0, seed=11, export=False).settings()))


# ------------------------------------------------------------------------------------------------ what is refused


def test_a_folder_that_holds_a_run(unbroken, calls):
    with pytest.raises(RunFolderError) as caught:
        run(unbroken.folder)
    assert str(caught.value) == (
        f"{unbroken.folder} already holds a run: add --resume to continue it, --overwrite to replace it, or another "
        "--train_path"
    )


def test_resuming_with_other_settings(unbroken, calls):
    with pytest.raises(RunFolderError) as caught:
        run(unbroken.folder, resume=True, learning_rate=0.5, gpu_id=(0,))
    assert str(caught.value) == (
        f"cannot resume the run in {unbroken.folder} with other settings: learning_rate (0.01 -> 0.5); give the old "
        "values, or another --train_path"
    )


@pytest.mark.slow
def test_overwriting_starts_anew(calls, tmp_path):
    first = run(tmp_path / "run", train_epoch=0)
    mine = first.folder / "notes.txt"
    mine.write_text("mine")
    second = run(tmp_path / "run", train_epoch=0, overwrite=True, search_target_rate=0.9)
    assert second.numbers["after_flops"] > first.numbers["after_flops"]
    assert mine.read_text() == "mine"


def test_a_folder_that_cannot_be_written(calls, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=rf"cannot write the run folder {tmp_path}/file/run: Not a directory"):
        run(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpu_id": (7,)}, "gpu_id: no GPU 7; this machine has"),
        ({"search_images": 20}, "expected more than 20 training images in every class of digits, found 20 in class 0"),
        ({"batch_size": 201}, "--batch_size: expected at most the 200 training images of digits, received 201"),
    ],
)
def test_mistakes_leave_no_folder(calls, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_without_searching_the_number_of_search_images_does_not_matter(calls, tmp_path):
    run(tmp_path / "run", searching=False, search_images=1000)
