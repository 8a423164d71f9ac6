import os
import signal
from dataclasses import fields

import numpy as np
import pytest

from tfprune.cli.main import main
from tfprune.errors import CheckpointError, RunFolderError
from tfprune.recipes.dpp import student_training, teacher_task
from tfprune.recipes.dpp.config import TeacherConfig
from tfprune.recipes.dpp.student_training import initial_student, train_student
from tfprune.recipes.dpp.teacher_task import TeacherTask
from tfprune.recipes.dpp.trained_student import TrainedStudent

BLOCKS = 2 * 4  # two epochs of 3.5 blocks


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    monkeypatch.setattr(teacher_task, "_BLOCK", 100)


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
    original = student_training.online_sgd

    def interrupting(*arguments):
        calls.append(1)
        if len(calls) == after:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(student_training, "online_sgd", interrupting)
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
    monkeypatch.setattr(student_training, "SAVE_SECONDS", 0.0)
    original, path, calls = student_training.online_sgd, tmp_path / "student.npz", []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 6:
            raise SystemExit
        return original(*arguments)

    monkeypatch.setattr(student_training, "online_sgd", dying)
    with pytest.raises(SystemExit):
        _train(task, path)
    student = _train(task, path)
    assert len(calls) == BLOCKS + 1
    _assert_equal(student, path, unbroken)


def _stopped(task, path, monkeypatch):
    def stop(*arguments):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(student_training, "SAVE_SECONDS", 0.0)
        patch.setattr(student_training.TrainedStudent, "save", stop)  # killed at the very end
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
    original = student_training.online_sgd

    def interrupting(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments)

    words = ["dpp", "student", "--teacher", teacher, "--student_h_size", "3", "--out", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr(student_training, "online_sgd", interrupting)
        assert main(words) == 130
    assert main(words) == 0
    assert "going on after 1 of 4 blocks" in capsys.readouterr().out
    assert out.exists()
