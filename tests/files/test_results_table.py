"""Rows that several processes add to one table."""

import csv
import multiprocessing
import os
import signal

import pytest

from tfprune.errors import RunFolderError
from tfprune.files import ResultsTable, folder_lock

COLUMNS = ("folder", "accuracy", "note")


def table(path):
    return ResultsTable(path, COLUMNS, key=("folder",))


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def row(folder, accuracy=0.5, note='a "quoted", note'):
    return {"folder": folder, "accuracy": accuracy, "note": note, "unknown": 1}


def append_many(path, name, count):
    for number in range(count):
        table(path).append(row(f"{name}/{number}", number / 7))


def test_processes_at_once(tmp_path):
    path = tmp_path / "runs" / "results.csv"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=append_many, args=(path, name, 40)) for name in "abcdef"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    found = rows(path)
    assert sorted(each["folder"] for each in found) == sorted(f"{name}/{n}" for name in "abcdef" for n in range(40))
    assert {float(each["accuracy"]) for each in found} == {n / 7 for n in range(40)}
    assert {each["note"] for each in found} == {'a "quoted", note'}
    assert os.listdir(path.parent) == ["results.csv"]


def test_a_run_has_one_row(tmp_path):
    path = tmp_path / "results.csv"
    for accuracy in (0.5, 0.7):
        table(path).append(row("a", accuracy))
    table(path).append(row("b", None))
    assert [(each["folder"], each["accuracy"]) for each in rows(path)] == [("a", "0.5"), ("b", "")]


@pytest.mark.parametrize("torn", ["", "fold", "folder,accuracy,note\n", "folder,accuracy,note\nx,1,2\ny,0.4"])
def test_what_a_killed_process_left_is_removed(tmp_path, torn):
    path = tmp_path / "results.csv"
    path.write_text(torn)
    table(path).check()
    table(path).append(row("z"))
    assert [each["folder"] for each in rows(path)] == (["x", "z"] if "x" in torn else ["z"])


def test_other_columns(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("folder,loss\na,1\n")
    for work in (table(path).check, lambda: table(path).append(row("a"))):
        with pytest.raises(RunFolderError, match=r"expected the columns folder, acc.*, found folder, loss;"):
            work()
    assert path.read_text() == "folder,loss\na,1\n"


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunFolderError, match=r"cannot write .*runs"):
        table(tmp_path / "runs" / "results.csv").append(row("a"))


def hold(folder, inside):
    with folder_lock(folder):
        inside.set()
        signal.pause()


def test_a_process_that_is_killed_gives_up_its_lock(tmp_path):
    context = multiprocessing.get_context("fork")
    inside = context.Event()
    holder = context.Process(target=hold, args=(tmp_path, inside))
    waiter = context.Process(target=append_many, args=(tmp_path / "results.csv", "a", 1))
    holder.start()
    assert inside.wait(30)
    waiter.start()
    waiter.join(0.3)
    assert waiter.is_alive()
    assert not (tmp_path / "results.csv").exists()
    holder.kill()
    waiter.join(30)
    holder.join()
    assert [each["folder"] for each in rows(tmp_path / "results.csv")] == ["a/0"]
