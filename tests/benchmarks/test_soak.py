import csv
import json
import random
import subprocess
import time

import numpy as np
import pytest


@pytest.mark.slow
def test_kills_and_second_processes(tmp_path, monkeypatch):
    """Two runs of a ticket: in the second, two processes begin at once, and another one joins it."""
    import soak

    monkeypatch.setattr(soak.tempfile, "tempdir", str(tmp_path))
    assert soak.main(["--cases", "snip", "--runs", "2", "--jobs", "1", "--out", str(tmp_path / "soak.csv")]) == 0
    with (tmp_path / "soak.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == ["start", "scores", "training", "report"]
    assert sum(int(row["kills"]) for row in rows) >= 2  # the last process may have been done before its moment came
    assert sum(len(row["moments"].split()) for row in rows) == sum(int(row["kills"]) for row in rows)
    assert sum(int(row["refused"]) for row in rows) >= 2
    assert {row["runs"] for row in rows} == {"2"}


@pytest.mark.slow
def test_a_command_leaves_whole_files_or_none(tmp_path, monkeypatch):
    import soak

    monkeypatch.setattr(soak.tempfile, "tempdir", str(tmp_path))
    assert soak.main(["--cases", "teacher", "--runs", "1", "--out", str(tmp_path / "soak.csv")]) == 0
    with (tmp_path / "soak.csv").open() as file:
        assert [row["stage"] for row in csv.DictReader(file)] == ["start", "writing"]


@pytest.fixture
def runs(tmp_path):
    """Two runs that have left the same files, in other places."""
    made = []
    for number, place in enumerate(("one", "other")):
        run = tmp_path / place / "run"
        (run / "metrics").mkdir(parents=True)
        row = {"loss": 1.0, "seconds": number}
        (run / "metrics" / "training.jsonl").write_text(json.dumps(row) + "\n")
        (run / "settings.yaml").write_text(f"baseline_path: {run.parent}/baselines\n")
        np.savez(run / "student.npz", weights=np.array([0.0, 1.0]))
        made.append(run)
    return made


def write_events(run, values):
    """Writes values for TensorBoard, each in a file of its own."""
    import tensorflow as tf

    for step, value in values:
        with tf.summary.create_file_writer(str(run / "events" / "training")).as_default():
            tf.summary.scalar("loss", value, step=step)


def test_runs_that_differ_in_times_and_places_are_the_same(runs):
    from soak_files import found_differences

    write_events(runs[0], [(1, 0.5), (2, 0.25)])
    write_events(runs[1], [(2, 0.25), (1, 0.5), (2, 0.25)])
    assert found_differences(*runs) == []


def test_other_weights_rows_events_and_files_are_noticed(runs):
    from soak_files import found_differences

    one, other = runs
    np.savez(other / "student.npz", weights=np.array([-0.0, 1.0]))
    (other / "metrics" / "training.jsonl").write_text('{"loss": 1.0}\n{"loss": 1.0}\n')
    (other / "settings.yaml").unlink()
    (other / ".student.partial.npz").write_bytes(b"PK")
    write_events(other, [(1, 0.5)])
    found = found_differences(one, other)
    assert [each.partition(":")[0] for each in found] == [
        "settings.yaml is missing",
        ".student.partial.npz was left over",
        "metrics/training.jsonl",
        "student.npz",
        "other events",
    ]
    assert found_differences(one / "nothing", other) == ["nothing to compare with"]


def test_after_a_kill_files_may_be_absent_but_not_cut(runs):
    from soak_files import found_differences

    one, other = runs
    (other / "settings.yaml").unlink()
    (other / ".settings.partial.yaml").write_text("baseline")
    assert found_differences(one, other, complete=False) == []
    content = (other / "student.npz").read_bytes()
    (other / "student.npz").write_bytes(content[: len(content) // 2])
    (other / "more.npz").write_bytes(b"")
    more, cut = found_differences(one, other, complete=False)
    assert more == "more.npz was left over"
    assert cut.startswith("student.npz cannot be read: ")


def life(folder, *commands):
    """Processes that stand in for workers, the first of them killed."""
    from soak_lives import Life

    processes = tuple(subprocess.Popen(["sh", "-c", command]) for command in commands)
    processes[0].kill()
    logs = tuple(folder / f"log{rank}.txt" for rank in range(len(processes)))
    for log in logs:
        log.write_text("last words")
    return Life(folder, logs, processes, time.time())


def second(folder, words, code):
    """A process that stands in for the second one in a folder, which has ended."""
    from soak_lives import Life

    log = folder / "second0.txt"
    log.write_text(words)
    process = subprocess.Popen(["sh", "-c", f"exit {code}"])
    return Life(folder, (log,), (process,), time.time()), process.wait()


@pytest.mark.parametrize(
    ("words", "code", "complaints"),
    [
        ("running on the CPU\na: error: held by process 3 on x", 2, 0),
        ("a: error: held by process 3 on x\nand more", 2, 1),
        ("a: error: held by another", 2, 1),
        ("process 3 on x", 2, 1),
        ("a: error: held by process 3 on x", 0, 1),
    ],
)
def test_a_second_process_must_be_refused_by_one_line(tmp_path, words, code, complaints):
    import soak

    folder = tmp_path / "folder"
    folder.mkdir()
    soaked = soak.Soak(soak.CASES["dense"], tmp_path, random.Random(0))
    first = life(folder, "sleep 60")
    soaked._refused(*second(folder, words, code), "a second process", first, "process 3 ")
    assert len(soaked.differences) == complaints
    assert soaked.refused.total() == 1 - complaints
    first.processes[0].wait()


def test_a_run_that_was_ended_by_a_kill_has_its_moment_in_the_stage():
    import soak

    soaked = soak.Soak(soak.CASES["teacher"], None, random.Random(0), lengths={"start": 2.0, "writing": 0.5})
    soaked.kills += [soak.Kill("start", 0, 0.755, False), soak.Kill("start", 0, 0.1, True)]
    start, writing = soaked.rows()
    assert (start["kills"], start["kills_while_writing"], start["moments"]) == (2, 1, "0.10w 0.76")
    assert (writing["kills"], writing["moments"]) == (0, "")


def test_the_names_of_cases_and_stages_differ():
    import soak

    cases = [*soak.TRAININGS, *soak.COMMANDS]
    assert len(soak.CASES) == len(cases)
    for case in cases:
        names = [stage.name for stage in case.all_stages]
        assert len(set(names)) == len(names) > 1


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
    file.write_text("case,kills\niterative,7\nekg,1\n")
    rows = soak.merged(file, [{"case": "ekg", "kills": 2}, {"case": "student", "kills": 3}])
    assert [(row["case"], int(row["kills"])) for row in rows] == [("ekg", 2), ("iterative", 7), ("student", 3)]


def test_the_table_adds_up():
    from soak_table import soak_table

    row = {"case": "ekg", "workers": "2", "stage": "start", "kills": "2", "kills_while_writing": "1", "refused": "0"}
    row |= {"moments": "0.10 0.39w", "noticed_seconds": "7.6", "runs": "3", "differences": "0"}
    other = row | {"stage": "search", "kills": "1", "moments": "1.30w", "refused": "2", "noticed_seconds": ""}
    alone = row | {"case": "test", "workers": "1", "kills": "0", "kills_while_writing": "0", "moments": "", "runs": "1"}
    text = soak_table([row, other, alone])
    summary = " ".join(text.partition("\n\n")[0].split())
    assert summary.startswith("**3 kills in 2 stages** of 2 cases, 2 of them as soon as")
    assert "3 of a worker of two (the other one ended by itself after 8 s at most); 2 second processes" in summary
    assert "; 4 runs, **0 differences**" in summary
    assert "By fifths of the stages: 1, 1, 0, 0, 1 kills." in summary
    assert text.splitlines()[-2:] == [
        "| ekg | 2 | start 2, search 1 | 3 | 2 | 1, 1, 0, 0, 1 | 2 | 3 |",
        "| test | 1 | start 0 | 0 | 0 | 0, 0, 0, 0, 0 | 0 | 1 |",
    ]


def test_the_page_has_the_counts_of_the_file(tmp_path):
    import soak_table
    from pages import DOCS

    page = (DOCS / "runs.md").read_text(encoding="utf-8")
    (tmp_path / "runs.md").write_text(page, encoding="utf-8")
    assert soak_table.main(["--page", str(tmp_path / "runs.md")]) == 0
    assert (tmp_path / "runs.md").read_text(encoding="utf-8") == page
    with soak_table.RESULTS.open(newline="") as file:
        assert {row["differences"] for row in csv.DictReader(file)} == {"0"}
