import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from tfprune.graph import complexity
from tfprune.recipes.ekg import stages
from tfprune.recipes.ekg.stages import load_state, run_search, save_state
from tfprune.recipes.training import RunFolder
from tfprune.search.greedy import Search

from .conftest import tiny_config

SUBSET = np.arange(60)
TARGET = 0.6
COLUMNS = ["step", "gate", "rate", "candidates", "accuracy", "loss", "score", "params", "flops", "flops_rate"]


def search(tiny, data, folder, **changes):
    run = RunFolder.create(folder, {}, resume=True)
    return run_search(tiny_config(**({"search_target_rate": TARGET} | changes)), tiny, data, SUBSET, run)


def rows(folder):
    """The table without its seconds."""
    lines = (folder / "metrics" / "search.csv").read_text().splitlines()
    assert lines[0].endswith(",seconds")
    return [line.rsplit(",", 1)[0] for line in lines]


def events(folder):
    found = []
    for path in (folder / "events" / "search").glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            found += [(v.tag, event.step, float(tf.make_ndarray(v.tensor))) for v in event.summary.value]
    return sorted(found)


@pytest.fixture(scope="module")
def unbroken(tiny, few_digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, search(tiny, few_digits, folder)


def assert_same(unbroken, folder, found):
    expected_folder, expected = unbroken
    assert rows(folder) == rows(expected_folder)
    assert events(folder) == events(expected_folder)
    np.testing.assert_array_equal(found.knowledge, expected.knowledge)
    assert len(found.history) == len(expected.history)
    for one, other in zip((*found.history, found.final), (*expected.history, expected.final), strict=True):
        np.testing.assert_array_equal(one.orders, other.orders)
        np.testing.assert_array_equal(one.rates, other.rates)
        assert one.loss == other.loss


def test_the_table_and_the_events(unbroken, tiny, few_digits):
    folder, found = unbroken
    images, labels = few_digits.normalize(few_digits.train_images[SUBSET]), few_digits.train_labels[SUBSET]
    alone = Search(tiny, images, labels, target=TARGET, batch_size=24)
    table = [line.split(",") for line in rows(folder)]
    assert table[0] == COLUMNS
    steps = list(alone.run())
    assert len(table) - 1 == len(steps) > 3
    for number, (cells, (state, step)) in enumerate(zip(table[1:], steps, strict=True), 1):
        gate = alone.groups[step.chosen.gate].name
        assert cells[:4] == [str(number), gate, str(step.chosen.rate), str(len(step.candidates))]
        assert [float(cell) for cell in cells[4:7]] == [state.accuracy, state.loss, step.chosen.score]
        assert [int(cell) for cell in cells[7:9]] == [state.params, state.flops]
    assert found.flops == state.flops <= TARGET * alone.full_flops < found.flops / 0.8
    scalars = events(folder)
    assert len(scalars) == 3 * len(steps)
    last = {tag: value for tag, step, value in scalars if step == len(steps)}
    expected = {"accuracy": state.accuracy, "loss": state.loss, "flops_rate": state.flops / alone.full_flops}
    assert last == {f"search/{name}": pytest.approx(value) for name, value in expected.items()}


@pytest.mark.parametrize("place", ["save_state", "_write_events", "_row"])
@pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_killed_and_resumed_equals_unbroken(unbroken, tiny, few_digits, tmp_path, monkeypatch, place, number):
    """Killed before the row, between row and state, and between state and event."""
    real, calls = getattr(stages, place), []

    def die(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise SystemError("killed")
        return real(*arguments)

    monkeypatch.setattr(stages, place, die)
    with pytest.raises(SystemError):
        search(tiny, few_digits, tmp_path)
    monkeypatch.undo()
    steps = []
    real_step = Search.step
    monkeypatch.setattr(Search, "step", lambda self, state: steps.append(len(state.history)) or real_step(self, state))
    found = search(tiny, few_digits, tmp_path)
    assert steps[0] == number + (place == "_write_events")  # finished steps are not repeated
    assert_same(unbroken, tmp_path, found)


def test_a_finished_search_is_not_repeated(unbroken, tiny, few_digits, monkeypatch):
    monkeypatch.setattr(Search, "step", lambda *_: pytest.fail("searches again"))
    folder, expected = unbroken
    assert_same((folder, expected), folder, search(tiny, few_digits, folder))


@pytest.mark.parametrize("content", [b"", b"\xff junk\n", b"[7]\n", None])
def test_a_damaged_table_is_written_again(unbroken, tiny, few_digits, tmp_path, content):
    folder = shutil.copytree(unbroken[0], tmp_path / "run")
    table = folder / "metrics" / "search.jsonl"
    table.unlink()
    if content is not None:
        table.write_bytes(content)
    assert_same(unbroken, folder, search(tiny, few_digits, folder))


def test_a_state_of_an_older_version_has_no_table(unbroken, tiny, few_digits, tmp_path):
    folder = shutil.copytree(unbroken[0], tmp_path / "run")
    save_state(load_state(folder / "search.npz"), folder / "search.npz")
    with np.load(folder / "search.npz") as file:
        arrays = {name: file[name] for name in file.files if name != "table"}
    np.savez(folder / "search.npz", **arrays)
    assert_same(unbroken, folder, search(tiny, few_digits, folder))


def test_ctrl_c_keeps_the_step(unbroken, tiny, few_digits, tmp_path, monkeypatch):
    real = Search.step

    def interrupted(self, state):
        if len(state.history) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, state)

    monkeypatch.setattr(Search, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(tiny, few_digits, tmp_path)
    monkeypatch.undo()
    assert len(load_state(tmp_path / "search.npz").history) == 3
    assert_same(unbroken, tmp_path, search(tiny, few_digits, tmp_path))


def test_seconds_go_on_after_a_break(tiny, few_digits, tmp_path, monkeypatch):
    real = stages.save_state

    def die_later(state, *arguments):
        real(state, *arguments)
        if len(state.history) == 3:
            raise SystemError("killed")

    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr(stages.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(stages, "save_state", die_later)
    with pytest.raises(SystemError):
        search(tiny, few_digits, tmp_path)
    monkeypatch.setattr(stages, "save_state", real)
    search(tiny, few_digits, tmp_path)
    lines = (tmp_path / "metrics" / "search.csv").read_text().splitlines()[1:]
    assert [float(line.rsplit(",", 1)[1]) for line in lines] == [100.0 * (n + 1) for n in range(len(lines))]


LANDSCAPE = ["center_loss", "fluctuation", "fluctuation_error", "hessian_min", "hessian_max", "hessian_ratio"]


@pytest.mark.parametrize("record", ["sections", pytest.param("hessian", marks=pytest.mark.slow)])
def test_landscapes_are_recorded_and_survive_a_break(tiny, few_digits, tmp_path, monkeypatch, record):
    changes = {"record_landscape": record, "search_target_rate": 0.75}
    search(tiny, few_digits, tmp_path / "whole", **changes)
    table = [line.split(",") for line in rows(tmp_path / "whole")]
    names = LANDSCAPE if record == "hessian" else LANDSCAPE[:3]
    assert table[0] == COLUMNS + names
    search(tiny, few_digits, tmp_path / "plain", search_target_rate=0.75)
    assert [line[: len(COLUMNS)] for line in table] == [line.split(",") for line in rows(tmp_path / "plain")]
    numbers = [dict(zip(table[0], map(str, line), strict=True)) for line in table[1:]]
    assert len(numbers) > 2
    for row in numbers:
        assert float(row["center_loss"]) == pytest.approx(float(row["loss"]), rel=1e-4)
        assert float(row["fluctuation"]) > float(row["fluctuation_error"]) > 0
    if record == "hessian":
        for row in numbers:
            assert float(row["hessian_max"]) > 0 > float(row["hessian_min"])
            ratio = -float(row["hessian_min"]) / float(row["hessian_max"])
            assert float(row["hessian_ratio"]) == pytest.approx(ratio)
    shown = {(tag, step): value for tag, step, value in events(tmp_path / "whole")}
    for name in {"fluctuation", "hessian_ratio"} & set(names):
        assert shown[f"search/{name}", 2] == pytest.approx(float(numbers[1][name]))

    real = stages.save_state

    def die_later(state, *arguments):
        real(state, *arguments)
        if len(state.history) == 3:
            raise SystemError("killed")

    monkeypatch.setattr(stages, "save_state", die_later)
    with pytest.raises(SystemError):
        search(tiny, few_digits, tmp_path / "broken", **changes)
    monkeypatch.setattr(stages, "save_state", real)
    search(tiny, few_digits, tmp_path / "broken", **changes)
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole")
    assert events(tmp_path / "broken") == events(tmp_path / "whole")


def test_the_seconds_are_those_of_the_search_without_the_landscapes(tiny, few_digits, tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr(stages.time, "monotonic", lambda: next(clock))
    search(tiny, few_digits, tmp_path, record_landscape="sections", search_target_rate=0.9)
    lines = (tmp_path / "metrics" / "search.csv").read_text().splitlines()[1:]
    assert [float(line.rsplit(",", 1)[1]) for line in lines] == [100.0 * (n + 1) for n in range(len(lines))]


def test_it_says_where_it_is(tiny, few_digits, tmp_path, capsys):
    found = search(tiny, few_digits, tmp_path)
    last = capsys.readouterr().out.splitlines()[-1]
    rate = found.flops / complexity(tiny).flops
    assert last.startswith(f"search: step {len(found.history)}, FLOPs {rate:.1%}, accuracy ")


CHANGES = {
    "search_target_rate": 0.7,
    "search_step": 0.4,
    "search_batch_size": 20,
    "search_precision": "mixed_bfloat16",
    "original_quirks": True,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_reaches_the_search(tiny, few_digits, tmp_path, monkeypatch, name):
    """The settings' effects are tested with `Search`; here, that they are handed on."""

    class Stop(Exception):
        pass

    received = {}

    def stop(self):
        received.update(vars(self))
        raise Stop

    monkeypatch.setattr(Search, "start", stop)
    with pytest.raises(Stop):
        search(tiny, few_digits, tmp_path, **{name: CHANGES[name]})
    attribute, value = {
        "search_target_rate": ("target", 0.7),
        "search_step": ("search_step", 0.4),
        "search_batch_size": ("batch_size", 20),
        "search_precision": ("dtype", "bfloat16"),
        "original_quirks": ("original_quirks", True),
    }[name]
    assert received[attribute] == value


@pytest.mark.parametrize(
    ("name", "value"), [("search_step", 0.4), ("search_batch_size", 20), ("original_quirks", True)]
)
def test_the_search_is_another_one(unbroken, tiny, few_digits, tmp_path, name, value):
    search(tiny, few_digits, tmp_path, **{name: value})
    assert rows(tmp_path) != rows(unbroken[0])
