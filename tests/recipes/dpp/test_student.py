import os
import signal
from dataclasses import fields

import numpy as np
import pytest
import tensorflow as tf

from tfprune.cli.main import main
from tfprune.dpp import activation
from tfprune.errors import CheckpointError, RunFolderError
from tfprune.recipes.dpp import student as module
from tfprune.recipes.dpp import teacher as teacher_module
from tfprune.recipes.dpp.config import TeacherConfig
from tfprune.recipes.dpp.student import TrainedStudent, initial_student, online_sgd, train_student
from tfprune.recipes.dpp.teacher import TeacherTask

BLOCKS = 2 * 4  # two epochs of 3.5 blocks


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    monkeypatch.setattr(teacher_module, "_BLOCK", 100)


@pytest.fixture(scope="module")
def task():
    return TeacherTask.draw(TeacherConfig("none.npz", input_dim=12, num_data=350, sig_w=0.1))


def _train(task, path, lr=0.5):
    return train_student(task, initial_student(task, 3, "erf", 1), lr=lr, epochs=2, seed=1, out=path)


@pytest.fixture
def unbroken(task, tmp_path, short_blocks):
    student = _train(task, tmp_path / "unbroken.npz")
    assert len(student.losses) == BLOCKS
    return student


def _assert_equal(student, path, expected):
    loaded = TrainedStudent.load(str(path))
    for found in (student, loaded):
        for name in ("moments", "losses"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        for field in fields(expected.network):
            np.testing.assert_array_equal(getattr(found.network, field.name), getattr(expected.network, field.name))
    assert not path.with_suffix(".progress.npz").exists()


@pytest.mark.parametrize("after", range(1, BLOCKS + 1))
def test_ctrl_c_loses_nothing(task, tmp_path, unbroken, monkeypatch, after):
    calls = []
    original = module.online_sgd

    def interrupting(*arguments):
        calls.append(1)
        if len(calls) == after:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(module, "online_sgd", interrupting)
    path = tmp_path / "student.npz"
    with pytest.raises(KeyboardInterrupt):
        _train(task, path)
    assert len(calls) == after
    assert not path.exists()
    student = _train(task, path)
    assert len(calls) == BLOCKS  # no block twice
    _assert_equal(student, path, unbroken)


def test_a_killed_training_goes_on_from_what_was_saved(task, tmp_path, unbroken, monkeypatch):
    """A process killed in its sixth block, having saved after each."""
    monkeypatch.setattr(module, "SAVE_SECONDS", 0.0)
    original, path, calls = module.online_sgd, tmp_path / "student.npz", []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 6:
            raise SystemExit
        return original(*arguments)

    monkeypatch.setattr(module, "online_sgd", dying)
    with pytest.raises(SystemExit):
        _train(task, path)
    student = _train(task, path)
    assert len(calls) == BLOCKS + 1
    _assert_equal(student, path, unbroken)


def _stopped(task, path, monkeypatch):
    def stop(*arguments):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(module, "SAVE_SECONDS", 0.0)
        patch.setattr(module.TrainedStudent, "save", stop)  # killed at the very end
        with pytest.raises(SystemExit):
            _train(task, path)


def test_progress_of_another_training(task, tmp_path, monkeypatch):
    path = tmp_path / "student.npz"
    _stopped(task, path, monkeypatch)
    with pytest.raises(RunFolderError, match="other settings"):
        _train(task, path, lr=0.4)
    other = TeacherTask.draw(TeacherConfig("none.npz", input_dim=12, num_data=350, sig_w=0.1, seed=2))
    with pytest.raises(RunFolderError, match="another teacher"):
        _train(other, path)


def test_killed_before_the_student_was_written(task, tmp_path, unbroken, monkeypatch):
    path = tmp_path / "student.npz"
    _stopped(task, path, monkeypatch)
    _assert_equal(_train(task, path), path, unbroken)


def test_unreadable_progress(task, tmp_path):
    (tmp_path / "student.progress.npz").write_bytes(b"PK\x03\x04half")
    with pytest.raises(CheckpointError, match="cannot read"):
        _train(task, tmp_path / "student.npz")


def test_the_command_goes_on(tmp_path, monkeypatch, capsys):
    teacher, out = str(tmp_path / "teacher.npz"), tmp_path / "student.npz"
    assert main(["dpp", "teacher", "--input_dim", "12", "--num_data", "350", "--out", teacher]) == 0
    original = module.online_sgd

    def interrupting(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments)

    words = ["dpp", "student", "--teacher", teacher, "--student_h_size", "3", "--out", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr(module, "online_sgd", interrupting)
        assert main(words) == 130
    assert main(words) == 0
    assert "going on after 1 of 4 blocks" in capsys.readouterr().out
    assert out.exists()


@pytest.mark.parametrize("mode", ["normal", "soft_committee"])
def test_steps_of_the_original(golden, mode):
    weights, outgoing = golden[f"sgd/{mode}/w1_0"], golden[f"sgd/{mode}/w2_0"][0]
    inputs, labels = golden["data/inputs"].T, golden["data/labels"]
    rate, learn = tf.constant(0.5), mode == "normal"
    one = online_sgd(weights, outgoing, inputs[:1], labels[:1], rate, "erf", learn)
    np.testing.assert_allclose(one[0], golden[f"sgd/{mode}/w1_1"], atol=5e-6)
    np.testing.assert_allclose(one[1], golden[f"sgd/{mode}/w2_1"][0], atol=5e-6)
    more = online_sgd(one[0], one[1], inputs[:20], labels[:20], rate, "erf", learn)
    np.testing.assert_allclose(more[0], golden[f"sgd/{mode}/w1_21"], atol=3e-5)
    np.testing.assert_allclose(more[1], golden[f"sgd/{mode}/w2_21"][0], atol=3e-5)
    assert np.array_equal(more[1], outgoing) == (mode == "soft_committee")


@pytest.mark.parametrize("name", ["erf", "sigmoid", "relu"])
def test_a_step_is_the_gradient_of_half_the_squared_error(name):
    rng = np.random.default_rng(0)
    weights, outgoing = rng.standard_normal((3, 8)), rng.standard_normal(3)
    x, y, step = rng.standard_normal(8), 0.3, 1e-5

    def loss(w, v):
        return (activation(name)(w @ x / np.sqrt(8)) @ v - y) ** 2 / 2

    parts = (weights, outgoing, x[None], np.array([y]))
    new = online_sgd(*(tf.constant(part, tf.float32) for part in parts), tf.constant(1.0), name, True)
    for index in np.ndindex(3, 8):
        change = np.zeros((3, 8))
        change[index] = step
        slope = (loss(weights + change, outgoing) - loss(weights - change, outgoing)) / (2 * step)
        assert weights[index] - new[0].numpy()[index] == pytest.approx(slope, abs=2e-5)
    for index in range(3):
        change = step * np.eye(3)[index]
        slope = (loss(weights, outgoing + change) - loss(weights, outgoing - change)) / (2 * step)
        assert outgoing[index] - new[1].numpy()[index] == pytest.approx(slope / 8, abs=2e-6)
    assert float(new[2]) == pytest.approx(loss(weights, outgoing), rel=1e-5)


NUMBERS = ("weights", "outgoing", "moments", "losses", "lr")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        *((name, lambda array: array * np.nan, f"its array '{name}' has NaN or infinite numbers") for name in NUMBERS),
        *((name, lambda array: array + 1e39, f"its array '{name}' has numbers beyond float32") for name in NUMBERS),
        *((name, lambda array: array[None], f"its array '{name}' has the shape ") for name in (*NUMBERS, "seed")),
        *((name, lambda array: None, f"it has no array '{name}'") for name in (*NUMBERS, "nonlinearity", "teacher")),
        ("outgoing", lambda array: array[1:], r"its array 'outgoing' has the shape \[2\], expected \[hidden = 3\]"),
        ("moments", lambda array: array[1:], r"its array 'moments' has the shape \[11, 12\], expected \[inputs = 12, "),
        ("weights", lambda array: array[:0], "its array 'weights' is empty"),
        ("weights", lambda array: array.astype(str), "its array 'weights' has the type str.*, expected numbers"),
        ("seed", lambda array: array + 0.5, "its array 'seed' has the type float64, expected whole numbers"),
        ("seed", lambda array: array - 2, "its array 'seed' has numbers below 0"),
        ("nonlinearity", lambda array: np.array("tanh"), "its array 'nonlinearity' is 'tanh', expected erf, sigmoid"),
        ("kind", lambda array: np.array("x" * 100_000), "expected a student, .* holds 'xxx"),
        ("kind", lambda array: None, "expected a student, .* holds 'something else'"),
    ],
)
def test_arrays_that_no_student_has_are_named(tmp_path, unbroken, name, change, said):
    path = tmp_path / "a.npz"
    unbroken.save(str(path))
    with np.load(path) as file:
        arrays = {each: file[each] for each in file.files}
    value = change(arrays.pop(name))
    np.savez(path, **arrays, **({} if value is None else {name: value}))
    with pytest.raises(CheckpointError, match=said):
        TrainedStudent.load(str(path))


def test_a_changed_bit_in_a_file_is_one_line(tmp_path, unbroken):
    """Each byte of the numbers has its sum in the file."""
    path = tmp_path / "a.npz"
    unbroken.save(str(path))
    whole = path.read_bytes()
    start = whole.index(b"weights.npy") + 40
    for place in range(start, start + 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match=r"cannot read .*a\.npz: expected an \.npz file with a student, "):
            TrainedStudent.load(str(path))


def test_progress_of_other_sizes(task, tmp_path, monkeypatch):
    """Its fingerprint is right, its numbers are not."""
    path = tmp_path / "student.npz"
    _stopped(task, path, monkeypatch)
    progress = tmp_path / "student.progress.npz"
    with np.load(progress) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(progress, **arrays | {"weights": np.ones((4, 12)), "outgoing": np.ones(4)})
    with pytest.raises(CheckpointError, match=r"its array 'weights' has the shape \[4, 12\], expected \[hidden = 3, "):
        _train(task, path)
