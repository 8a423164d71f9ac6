"""Rows that several processes add to one table."""

import csv
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from tfprune.errors import ConfigError, RunFolderError
from tfprune.files import (
    ResultsTable,
    WriteError,
    check_output,
    folder_lock,
    replaced_file,
    write_bytes,
    write_text,
    writing,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from tfprune.files import write_text
setattr(os, sys.argv[2], lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
write_text(Path(sys.argv[1]), "new" * 9999)
"""
COLUMNS = ("folder", "accuracy", "note")


def test_the_reason_of_the_system_is_reported():
    with pytest.raises(RunFolderError) as caught, writing("folder/table.csv"):
        raise PermissionError(13, "Permission denied", "/somewhere/else")
    assert str(caught.value) == (
        "cannot write folder/table.csv: Permission denied; make room, or name a folder that can be written; "
        "complete files are kept"
    )
    assert isinstance(caught.value, OSError)
    assert caught.value.strerror == "Permission denied"


def test_the_inner_error_is_kept():
    with pytest.raises(WriteError, match="cannot write inner: full;"), writing("outer"), writing("inner"):
        raise OSError("full")


class Other(Exception):
    pass


def test_other_kinds_of_errors():
    with pytest.raises(WriteError, match="cannot write file: File too large; make room"), writing("file", Other):
        raise Other("{{function_node x}} /run/ckpt_temp/part; File too large [Op:SaveV2]\nmore")
    with pytest.raises(Other), writing("file"):
        raise Other


def test_the_file_appears_when_it_is_complete(tmp_path):
    with replaced_file(tmp_path / "file.txt") as partial:
        partial.write_text("new")
        assert partial.suffix == ".txt"
        assert not (tmp_path / "file.txt").exists()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file.txt", "new")]


def test_a_missing_folder_is_created(tmp_path):
    write_text(tmp_path / "new" / "folder" / "file", "content")
    assert (tmp_path / "new" / "folder" / "file").read_text() == "content"
    with pytest.raises(WriteError, match=r"cannot write .*folder/file/no/file: Not a directory; make room"):
        write_text(tmp_path / "new" / "folder" / "file" / "no" / "file", "content")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch, step):
    write_text(tmp_path / "file", "old")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(WriteError, match=rf"^cannot write {tmp_path}/file: No space left on device; make room"):
        write_text(tmp_path / "file", "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "old")]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_killed_process_leaves_the_old_file_and_the_next_write_cleans_up(tmp_path, step):
    file = tmp_path / "file"
    write_text(file, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(file), step], check=False)
    assert done.returncode == -signal.SIGKILL
    assert file.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    write_text(file, "newer")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file", "newer")]


def test_full_disk(tmp_path, small_files):
    write_bytes(tmp_path / "file", b"old")
    with small_files(1000), pytest.raises(WriteError, match=r"cannot write .*file: File too large"):
        write_bytes(tmp_path / "file", bytes(5000))
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("file", b"old")]


def test_outputs(tmp_path):
    old = tmp_path / "old.keras"
    old.touch()
    check_output(None, overwrite=False)
    check_output(str(tmp_path / "new.keras"), overwrite=False)
    check_output(str(old), overwrite=True, suffix=".keras")
    with pytest.raises(RunFolderError, match=r"old.keras exists; add --overwrite to replace it, or name another"):
        check_output(str(old), overwrite=False)
    check_output(str(tmp_path / "no" / "such" / "new.keras"), overwrite=False)
    assert not (tmp_path / "no").exists()
    for parts in (("old.keras", "new.keras"), ("old.keras", "no", "new.keras")):
        with pytest.raises(RunFolderError, match=r"cannot write .*new.keras: .*old.keras is no folder; name another"):
            check_output(str(tmp_path.joinpath(*parts)), overwrite=True)
    with pytest.raises(ConfigError, match=r"expected a file to write that ends in .npz, received .*old.keras"):
        check_output(str(old), overwrite=True, suffix=".npz")


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


def test_several_processes_append(tmp_path):
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
def test_an_incomplete_line_is_removed(tmp_path, torn):
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


def test_a_file_instead_of_the_folder(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunFolderError, match=r"cannot write .*runs"):
        table(tmp_path / "runs" / "results.csv").append(row("a"))


def hold(folder, inside):
    with folder_lock(folder):
        inside.set()
        signal.pause()


def test_a_killed_process_releases_its_lock(tmp_path):
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


def test_a_hostile_table_is_refused_in_one_line(tmp_path):
    path = tmp_path / "results.csv"
    for content, said in (
        (b'folder,accuracy,note\n"' + b"x" * 200_000 + b'",1\n', "field larger than field limit"),
        (b"\xff\0,\n1,2\n", "expected the columns "),
        (b"," * 100_000 + b"\n", "expected the columns "),
    ):
        path.write_bytes(content)
        with pytest.raises(RunFolderError, match=said):
            table(path).append(row("a"))
        assert path.read_bytes() == content
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RunFolderError, match="it is no regular file; move it away"):
        table(path).append(row("a"))
