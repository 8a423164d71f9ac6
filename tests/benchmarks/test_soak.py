import csv
import random
import subprocess
import time

import numpy as np
import pytest


@pytest.mark.slow
def test_three_kills(tmp_path, monkeypatch):
    """One run of Peek-a-Boo, killed in each of its stages."""
    import soak

    monkeypatch.setattr(soak.tempfile, "tempdir", str(tmp_path))
    assert soak.main(["--cases", "peekaboo", "--runs", "1", "--out", str(tmp_path / "soak.csv")]) == 0
    with (tmp_path / "soak.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == ["pruning", "training", "report"]
    assert sum(int(row["kills"]) for row in rows) >= 2  # the last process may have been done before its moment came
    assert {row["runs"] for row in rows} == {"1"}


def test_other_weights_are_noticed(tmp_path):
    import keras
    import soak_files

    one, other = tmp_path / "one.keras", tmp_path / "other.keras"
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="dense")])
    model.save(one)
    model.save(other)
    assert soak_files.same_weights(one, other)
    assert len(soak_files.arrays(one)) == 2
    kernel = model.layers[0].kernel.numpy()
    kernel[0, 0] = kernel[0, 0] * (1 + 1e-7) + 1e-9
    model.layers[0].kernel.assign(kernel)
    model.save(other)
    assert not soak_files.same_weights(one, other)


def test_students_are_compared_bit_for_bit(tmp_path):
    from soak_files import found_differences

    one, other = tmp_path / "one", tmp_path / "other"
    for folder, value in ((one, 0.0), (other, -0.0)):
        (folder / "runs" / "a" / "metrics").mkdir(parents=True)
        (folder / "runs" / "a" / "metrics" / "training.jsonl").write_text(f'{{"loss": 1.0, "seconds": {value}}}\n')
        np.savez(folder / "student.npz", weights=np.array([value]))
    assert found_differences(one, other, "*.npz") == ["other weights in student.npz"]
    np.savez(other / "student.npz", weights=np.array([0.0]))
    assert found_differences(one, other, "*.npz") == []
    np.savez(other / "more.npz", weights=np.array([0.0]))
    assert found_differences(one, other, "*.npz") == ["more.npz in one of them only"]
    (one / "runs" / "a" / "metrics" / "training.jsonl").unlink()
    assert found_differences(one, other, "student.npz") == ["other rows in runs/a/metrics/training.jsonl"]
    assert found_differences(one, other, "*.keras") == ["nothing to compare with"]


def life(folder, *commands):
    """Processes that stand in for workers, the first of them killed."""
    from soak_lives import Life

    processes = tuple(subprocess.Popen(["sh", "-c", command]) for command in commands)
    processes[0].kill()
    logs = tuple(folder / f"log{rank}.txt" for rank in range(len(processes)))
    for log in logs:
        log.write_text("last words")
    return Life(folder, logs, processes, time.time())


@pytest.mark.parametrize(("command", "complaints"), [("exit 75", 0), ("exit 0", 0), ("exit 1", 1), ("sleep 60", 1)])
def test_workers_that_are_left_must_end(tmp_path, monkeypatch, command, complaints):
    import soak

    monkeypatch.setattr(soak, "PATIENCE_OF_WORKERS", 0.3 if complaints else 60)
    workers = soak.Soak(soak.CASES["ekg_workers"], tmp_path, random.Random(0))
    left = life(tmp_path, "sleep 60", command)
    workers._survive(left, 0, "search")
    assert len(workers.differences) == complaints
    assert left.processes[1].poll() is not None


def test_cases_that_were_not_run_keep_their_rows(tmp_path):
    import soak

    file = tmp_path / "soak.csv"
    file.write_text("case,kills\nticket,7\nekg,1\n")
    rows = soak.merged(file, [{"case": "ekg", "kills": 2}, {"case": "student", "kills": 3}])
    assert [(row["case"], int(row["kills"])) for row in rows] == [("ekg", 2), ("ticket", 7), ("student", 3)]
