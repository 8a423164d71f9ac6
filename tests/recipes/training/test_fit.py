import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.recipes.training.fit_script import EPOCHS, STEPS, batches, digest, make_loop, train
from tfprune.errors import RunFolderError, TfpruneError
from tfprune.reading import RefusedError
from tfprune.recipes.training import GracefulInterrupt, RunFolder, evaluate
from tfprune.recipes.training.fit import LoopState

SCRIPT = Path(__file__).with_name("fit_script.py")
TABLES = ("fit.csv", "fit.jsonl", "fit_steps.csv", "fit_steps.jsonl")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def tables(folder):
    return {name: (folder / "metrics" / name).read_text() for name in TABLES}


def events(folder):
    """All scalars in the folder's event files as (tag, step, value)."""
    found = []
    for path in (folder / "events" / "fit").glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            found += [(v.tag, event.step, float(tf.make_ndarray(v.tensor))) for v in event.summary.value]
    return sorted(found)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    model, rows = train(folder)
    return folder, digest(model), rows


def test_rows_tables_and_events(uninterrupted):
    folder, _, rows = uninterrupted
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.1, 0.1, 0.01, 0.01])
    assert list(rows[0]) == ["epoch", "step", "learning_rate", "train_loss", "train_accuracy", "test_loss"]
    written = tables(folder)
    assert [json.loads(line) for line in written["fit.jsonl"].splitlines()] == rows
    steps = [json.loads(line) for line in written["fit_steps.jsonl"].splitlines()]
    assert [row["step"] for row in steps] == list(range(2, 21, 2))
    assert steps[4]["loss"] == rows[1]["train_loss"]  # step 10 ends an epoch: the same mean
    assert ("epoch/test_loss", 20, pytest.approx(rows[-1]["test_loss"])) in events(folder)
    assert ("step/learning_rate", 12, pytest.approx(0.01)) in events(folder)


def test_the_epoch_mean_is_that_of_its_batches(uninterrupted):
    """A fresh loop, stepped by hand."""
    loop = make_loop()
    losses = [loop.train_step(batch)["loss"] for batch in batches(0)]
    np.testing.assert_allclose(
        np.reshape(losses, (EPOCHS, STEPS)).mean(1), [row["train_loss"] for row in uninterrupted[2]], rtol=1e-6
    )


def test_console_line_every_n_steps(capsys):
    train(None, log_every=7, postfix=lambda: "a word of the caller")
    lines = [line for line in capsys.readouterr().out.splitlines() if " step " in line]
    assert [line.split(":")[0] for line in lines] == ["training step 7", "training step 14"]
    assert all("loss" in line and "a word of the caller" in line for line in lines)


def test_training_without_a_folder_is_the_same(uninterrupted):
    model, rows = train(None, log_every=0)
    assert digest(model) == uninterrupted[1]
    assert rows == uninterrupted[2]


def stop_at(step, folder):
    """Trains with a Ctrl-C in mid-step, as a user would send it."""

    def interrupt_then(start):
        for index, batch in enumerate(batches(start)):
            if start + index == step:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    loop = make_loop()
    run = RunFolder.create(folder, {"epochs": EPOCHS}, resume=True)
    loop.fit(
        interrupt_then,
        steps_per_epoch=STEPS,
        epochs=EPOCHS,
        name="fit",
        run=run,
        resume=True,
        log_every=2,
        evaluate=lambda: {"test_loss": evaluate(loop.model, batches(0).take(2)).loss},
    )


@pytest.mark.parametrize("step", [0, 6, STEPS - 1, 2 * STEPS - 1, 12])
def test_interrupted_and_resumed_equals_uninterrupted(uninterrupted, tmp_path, step):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        stop_at(step, tmp_path)
    assert signal.getsignal(signal.SIGINT) is handler
    saved = tf.train.load_checkpoint(str(tmp_path / "checkpoints" / "fit"))
    assert json.loads(saved.get_tensor("state/.ATTRIBUTES/py_state"))["step"] == step + 1
    model, rows = train(tmp_path, resume=True)
    assert digest(model) == uninterrupted[1]
    assert rows == uninterrupted[2]
    assert tables(tmp_path) == tables(uninterrupted[0])
    assert events(tmp_path) == events(uninterrupted[0])


@pytest.mark.parametrize("older", [False, True])
def test_tables_are_those_of_the_checkpoint(uninterrupted, tmp_path, older, monkeypatch):
    """Checkpoints of older versions have no rows: those in the files are taken."""
    serialize = LoopState.serialize

    def without_tables(state):
        content = json.loads(serialize(state))
        del content["tables"]
        return json.dumps(content)

    if older:
        monkeypatch.setattr(LoopState, "serialize", without_tables)
    with pytest.raises(KeyboardInterrupt):
        stop_at(12, tmp_path)
    monkeypatch.undo()
    if not older:
        for table in (tmp_path / "metrics").iterdir():
            table.write_bytes(b"\xff junk\n")
    model, rows = train(tmp_path, resume=True)
    assert (digest(model), rows) == uninterrupted[1:]
    assert tables(tmp_path) == tables(uninterrupted[0])
    assert events(tmp_path) == events(uninterrupted[0])


def state_of(**change):
    """The content of a checkpoint after three of four steps of the second epoch."""
    rows = [{"step": 4, "epoch": 1, "loss": 0.5, "weight": "a"}]
    content = {"step": 7, "epochs_done": 1, "steps_per_epoch": 4, "sums": {"loss": [0.1, 3.0]}, "tables": {"": rows}}
    return json.dumps(content | change)


def test_a_state_is_read_as_it_was_written():
    state = LoopState(4)
    state.deserialize(state_of())
    assert state.serialize() == state_of()
    assert type(state.tables[""][0]["epoch"]) is int


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "damaged"),
        ("[" * 100_000, "damaged"),
        ("[]", "damaged: expected object"),
        (state_of(step="7"), "damaged: step: expected int"),
        (state_of(step=-1), "damaged: step: expected int"),
        (state_of(step=9), "damaged: step: expected a step of epoch 2, got 9"),
        (state_of(epochs_done=True), "damaged: epochs_done: expected int"),
        (state_of(sums={"loss": [0.1]}), r"damaged: sums\[...\]: expected"),
        (state_of(sums=None), "damaged: sums: expected object"),
        (state_of(tables={"": [{"epoch": 1}]}), "damaged: tables: expected rows that have a step"),
        (state_of(tables={"": [{"step": None}]}), "damaged: tables"),
        (state_of(more=1), "damaged: expected the members"),
    ],
)
def test_damaged_states(text, said):
    with pytest.raises(RefusedError, match=said):
        LoopState(4).deserialize(text)


def test_a_checkpoint_with_a_damaged_state_is_left_out(uninterrupted, tmp_path, monkeypatch, capsys):
    """The checkpoint before it is used, as after damage to the weights."""
    serialize = LoopState.serialize
    monkeypatch.setattr(LoopState, "serialize", lambda state: serialize(state).replace("step", "stop", state.step > 12))
    with pytest.raises(KeyboardInterrupt):
        stop_at(12, tmp_path)
    monkeypatch.undo()
    model, rows = train(tmp_path, resume=True)
    assert "its state of the training is damaged" in capsys.readouterr().out
    assert (digest(model), rows) == uninterrupted[1:]


def test_the_second_interrupt_does_not_wait(tmp_path):
    def hang(start):
        yield from batches(start).take(1)
        os.kill(os.getpid(), signal.SIGINT)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(30)

    loop = make_loop()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        loop.fit(hang, steps_per_epoch=STEPS, epochs=1, name="fit")
    assert time.monotonic() - start < 15


def test_a_finished_training_is_not_repeated(uninterrupted):
    model, rows = train(uninterrupted[0], resume=True)
    assert digest(model) == uninterrupted[1]
    assert rows == uninterrupted[2]


def script(folder, *flags):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    """SIGKILL at four moments of one training; the end must be that of a process that nobody touched."""
    uninterrupted = script(tmp_path / "uninterrupted")
    expected = uninterrupted.communicate(timeout=120)[0].splitlines()[-1]
    folder = tmp_path / "killed"
    for rows in (1, 3, 4, 8):
        victim = script(folder, "--resume", "--slow", "0.1")
        try:
            deadline = time.monotonic() + 60
            table = folder / "metrics" / "fit_steps.jsonl"
            while not table.exists() or len(table.read_text().splitlines()) < rows:
                assert victim.poll() is None, "the training ended before it was killed"
                assert time.monotonic() < deadline, "the training does not get on"
                time.sleep(0.02)
            time.sleep(0.05 * rows)
        finally:
            victim.kill()
            victim.communicate()
        assert victim.returncode == -signal.SIGKILL
    survivor = script(folder, "--resume")
    assert survivor.communicate(timeout=120)[0].splitlines()[-1] == expected
    assert tables(folder) == tables(tmp_path / "uninterrupted")
    assert events(folder) == events(tmp_path / "uninterrupted")


def test_divergence_is_an_error_and_keeps_the_last_checkpoint(tmp_path):
    with pytest.raises(TfpruneError, match=r"training diverged: the mean loss of the epoch is nan after \d+ steps"):
        train(tmp_path, bad_step=12)
    saved = tf.train.load_checkpoint(str(tmp_path / "checkpoints" / "fit"))
    values = [saved.get_tensor(name) for name, shape in saved.get_variable_to_shape_map().items() if shape]
    assert len(values) > 10
    assert all(np.isfinite(value).all() for value in values)
    model, _ = train(tmp_path, resume=True)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_data_that_end_early():
    loop = make_loop()
    with pytest.raises(TfpruneError, match=r"ended after 3 steps; expected 20 \(4 epochs of 5\)"):
        loop.fit(lambda start: batches(start).take(3), steps_per_epoch=STEPS, epochs=EPOCHS, name="fit")


def test_a_name_belongs_to_one_training(uninterrupted):
    run = RunFolder.create(uninterrupted[0], {"epochs": EPOCHS}, resume=True)
    with pytest.raises(RunFolderError, match="holds checkpoints of another training"):
        make_loop().fit(batches, steps_per_epoch=STEPS, epochs=EPOCHS, name="fit", run=run)
    with pytest.raises(TfpruneError, match="5 steps per epoch, this run 4"):
        make_loop().fit(batches, steps_per_epoch=4, epochs=EPOCHS, name="fit", run=run, resume=True)


def test_before_epoch_is_called_once_per_epoch():
    seen = []
    train(None, before_epoch=lambda epoch: seen.append(epoch))
    assert seen == [0, 1, 2, 3]


def test_changes_before_an_epoch_are_repeated_on_resume(tmp_path):
    """A kill right before an epoch, after its hook: the resumed run calls the hook again, in the same state."""
    loops = []

    def shift(epoch):
        if epoch == 2:
            bias = loops[-1].model.layers[-1].bias
            bias.assign(bias + 1.0)

    def run(folder, hook, **settings):
        loops.append(make_loop())
        run = RunFolder.create(folder, {"epochs": EPOCHS}, **settings)
        loops[-1].fit(batches, steps_per_epoch=STEPS, epochs=EPOCHS, name="fit", run=run, before_epoch=hook, **settings)
        return digest(loops[-1].model)

    def killed(epoch):
        shift(epoch)
        if epoch == 2:
            raise RuntimeError("killed")

    uninterrupted = run(tmp_path / "a", shift)
    assert uninterrupted != run(tmp_path / "b", None)
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "c", killed)
    assert run(tmp_path / "c", shift, resume=True) == uninterrupted


def test_unreadable_data_are_reported_in_one_line(tmp_path):
    def failing(start):
        return tf.data.Dataset.range(3).map(lambda number: {"images": tf.io.read_file(str(tmp_path / "none"))})

    with pytest.raises(TfpruneError, match=rf"^the training data cannot be read: {tmp_path}/none; No such file or dir"):
        make_loop().fit(failing, steps_per_epoch=3, epochs=1, name="fit")


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_recorded_and_the_second_interrupts(number, capsys):
    before = [signal.getsignal(each) for each in SIGNALS]
    with GracefulInterrupt() as interrupt:
        assert not interrupt.requested
        os.kill(os.getpid(), number)
        assert interrupt.requested
        assert "stopping after this step" in capsys.readouterr().out
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_other_threads_do_not_handle_signals():
    before = [signal.getsignal(each) for each in SIGNALS]
    seen = []

    def work():
        with GracefulInterrupt() as interrupt:
            seen.append((interrupt.requested, [signal.getsignal(each) for each in SIGNALS]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
