"""A training command on two processes of this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = str(Path(__file__).parents[2] / "train_cifar.py")
SECONDS = 600
ARGUMENTS = [
    *("--method", "dense", "--dataset", "digits", "--fraction", "0.1", "--arch", "ResNet-20", "--no_export"),
    *("--batch_size", "32", "--accum", "2", "--milestones", "20", "--learning_rate", "0.01", "--do_log", "2"),
]


def rows(folder):
    path = folder / "metrics" / "training.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def assert_same_losses(one, two):
    """Rounding grows from step to step; tests/training/test_workers.py compares weights after few."""
    for first, second, tolerance in zip(rows(one), rows(two), (1e-6, 1e-4, 1e-3), strict=True):
        for name in ("train_loss", "test_loss"):
            assert first[name] == pytest.approx(second[name], rel=tolerance)


def ended(worker):
    output, errors = worker.communicate(timeout=SECONDS)
    own = [line for line in errors.splitlines() if not line.startswith(("I0000", "WARNING: All log"))]
    return worker.returncode, output, own


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    command = [sys.executable, SCRIPT, *ARGUMENTS, "--epochs", "3", "--train_path", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS, env=environment)
    return folder


def test_two_processes_give_what_one_gives(one, start_workers, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    folder = tmp_path / "run"
    command = [SCRIPT, *ARGUMENTS, "--strategy", "multi_worker", "--epochs", "3", "--train_path", str(folder)]
    chief, other = map(ended, start_workers(command, environment={"TMPDIR": str(temporary)}))
    assert (chief[0], other[0]) == (0, 0)
    assert "worker 0 of 2: waiting for the others" in chief[1]
    assert "training 3/3:" in chief[1]
    assert other[1:] == ("", []), "the chief alone speaks"
    assert not list(temporary.glob("worker-*"))
    assert {path.name for path in folder.iterdir()} == {path.name for path in one.iterdir()}
    assert_same_losses(one, folder)


@pytest.mark.parametrize("victim", [0, 1])
def test_whoever_is_killed_the_other_ends_and_both_resume(one, start_workers, tmp_path, victim):
    folder = tmp_path / "run"
    command = [SCRIPT, *ARGUMENTS, "--strategy", "multi_worker", "--epochs", "3", "--train_path", str(folder)]
    workers = start_workers(command)
    deadline = time.monotonic() + SECONDS
    while not rows(folder) and time.monotonic() < deadline:
        assert all(worker.poll() is None for worker in workers)
        time.sleep(0.05)
    workers[victim].send_signal(signal.SIGKILL)
    code, _, errors = ended(workers[1 - victim])
    assert code == 75
    assert errors[-1].startswith(
        f"train_cifar.py: worker {1 - victim} of 2: error: expected 2 workers, lost one of them"
    )
    assert len(rows(folder)) < 3
    assert [each[0] for each in map(ended, start_workers([*command, "--resume"]))] == [0, 0]
    assert [row["epoch"] for row in rows(folder)] == [1, 2, 3]
    assert_same_losses(one, folder)


def test_a_failure_names_its_rank(start_workers, tmp_path):
    (tmp_path / "settings.yaml").touch()
    (tmp_path / "run.json").write_text('{"made": ["settings.yaml"]}')
    command = [SCRIPT, *ARGUMENTS, "--strategy", "multi_worker", "--train_path", str(tmp_path)]
    chief, other = map(ended, start_workers(command))
    assert (chief[0], other[0]) == (2, 75)
    (line,) = chief[2]
    assert line.startswith(f"train_cifar.py: worker 0 of 2: error: {tmp_path} already holds a run: add --resume")
    assert other[2][-1].startswith("train_cifar.py: worker 1 of 2: error: expected 2 workers, lost one of them")
