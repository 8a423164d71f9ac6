"""Locks, with real processes: who gets them, who is told what, and when they are free again."""

import errno
import fcntl
import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from tfprune.errors import RunFolderError
from tfprune.locks import Lock

ADVICE = "wait for its end"
HOLDER = """
import signal, sys
from pathlib import Path
from tfprune.locks import Lock
folder = Path(sys.argv[1])
lock = Lock(folder / "run.lock", folder, "wait")
print("holds", flush=True)
sys.stdin.read()
"""
CONTENDER = """
import sys, time
from pathlib import Path
from tfprune.errors import RunFolderError
from tfprune.locks import Lock
folder = Path(sys.argv[1])
while not (folder / "go").exists():
    time.sleep(0.001)
try:
    lock = Lock(folder / "run" / "run.lock", folder, "wait")
except RunFolderError:
    print("refused", flush=True)
else:
    print("holds", flush=True)
sys.stdin.read()
"""


def taken(folder):
    return Lock(folder / "run.lock", folder, ADVICE)


def start(script, folder):
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def holder(tmp_path):
    process = start(HOLDER, tmp_path)
    assert process.stdout.readline() == "holds\n"
    yield process
    process.kill()
    process.communicate()


def refused(folder, *parts):
    with pytest.raises(RunFolderError) as caught:
        taken(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder} is in use: ")
    assert message.endswith(f"; {ADVICE}")
    assert all(part in message for part in parts), message
    assert "\n" not in message
    return message


def test_the_second_process_is_told_who_holds_it(tmp_path, holder):
    message = refused(tmp_path, f"process {holder.pid} on {platform.node()} works there since 20", f"(-c {tmp_path})")
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", message)


def test_it_is_free_when_its_holder_ends(tmp_path, holder):
    holder.communicate("")
    assert not list(tmp_path.iterdir())
    with taken(tmp_path):
        note = json.loads((tmp_path / "run.lock").read_text())
        assert (note["pid"], note["host"]) == (os.getpid(), platform.node())
    assert not list(tmp_path.iterdir())


def test_it_is_free_when_its_holder_is_killed(tmp_path, holder, capsys):
    holder.kill()
    holder.wait()
    assert (tmp_path / "run.lock").exists()
    taken(tmp_path).release()
    assert not list(tmp_path.iterdir())
    assert not capsys.readouterr().out


def test_a_stopped_holder_still_holds_it(tmp_path, holder):
    holder.send_signal(signal.SIGSTOP)
    refused(tmp_path, str(holder.pid))
    holder.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("attempt", range(3))
def test_one_of_many_that_come_at_once_gets_it(tmp_path, attempt):
    """The folder of the lock does not exist yet."""
    processes = [start(CONTENDER, tmp_path) for _ in range(4)]
    (tmp_path / "go").touch()
    answers = [process.stdout.readline().strip() for process in processes]
    for process in processes:
        process.communicate("")
    assert sorted(answers) == ["holds", "refused", "refused", "refused"]


def test_one_after_the_other_gets_it(tmp_path):
    """Each removes its file while the next ones open it; two at once would find the mark of the other."""
    script = """
import os, sys, time
from pathlib import Path
from tfprune.errors import RunFolderError
from tfprune.locks import Lock
folder, done = Path(sys.argv[1]), 0
while done < 200:
    try:
        with Lock(folder / "run.lock", folder, "wait"):
            os.close(os.open(folder / "mark", os.O_CREAT | os.O_EXCL))
            os.unlink(folder / "mark")
            done += 1
    except RunFolderError:
        time.sleep(0.0001)
print(done)
"""
    processes = [start(script, tmp_path) for _ in range(3)]
    assert [process.communicate()[0] for process in processes] == ["200\n"] * 3


def test_a_child_of_a_killed_holder_does_not_hold_it(tmp_path):
    """Forked without a new program, as by `multiprocessing`: it inherits the open file."""
    script = HOLDER.replace(
        "print(", "import os, time\nif os.fork() == 0:\n    time.sleep(60)\n    os._exit(0)\nprint("
    )
    parent = start(script.replace('"holds"', '"holds", os.getpgid(0)'), tmp_path)
    assert parent.stdout.readline().startswith("holds")
    refused(tmp_path, str(parent.pid))
    parent.kill()
    parent.wait()
    children = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout.split()
    try:
        assert len(children) == 1  # the child lives
        taken(tmp_path).release()
    finally:
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        parent.communicate()


def test_a_child_that_ends_leaves_it_to_its_parent(tmp_path):
    lock = taken(tmp_path)
    if (child := os.fork()) == 0:
        lock.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / "run.lock").exists()
    script = "import sys; from pathlib import Path; from tfprune.locks import Lock; p = Path(sys.argv[1])\n"
    script += "try:\n    Lock(p / 'run.lock', p, 'wait')\nexcept Exception as error:\n    print(type(error).__name__)"
    assert start(script, tmp_path).communicate()[0] == "RunFolderError\n"
    lock.release()


def test_other_threads_are_refused_and_the_same_takes_over(tmp_path):
    first = taken(tmp_path)
    found = []

    def other():
        try:
            found.append(taken(tmp_path))
        except RunFolderError as error:
            found.append(str(error))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert f"process {os.getpid()} " in found.pop()
    second = taken(tmp_path)  # a notebook runs a cell again
    first.release()
    assert (tmp_path / "run.lock").exists()
    second.release()
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    taken(tmp_path).release()  # the thread that left it has ended
    assert isinstance(found.pop(), Lock)


def test_it_is_free_when_nobody_refers_to_it(tmp_path):
    lock = taken(tmp_path)
    assert (tmp_path / "run.lock").exists()
    del lock
    assert not (tmp_path / "run.lock").exists()


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, capsys):
    def flock(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    taken(tmp_path).release()
    said = capsys.readouterr().out
    assert said == (
        f"{tmp_path / 'run.lock'} cannot be locked (No locks available): let no other process write there meanwhile\n"
    )


def test_a_note_of_another_machine_is_told(tmp_path, capsys):
    note = {"pid": 77, "host": "far\naway", "since": "2026-01-01 00:00:00", "command": "x"}
    (tmp_path / "run.lock").write_text(json.dumps(note))
    taken(tmp_path).release()
    said = capsys.readouterr().out
    assert said.startswith(f"{tmp_path}: process 77 on ")
    assert "worked there since 2026-01-01 00:00:00 and no longer holds its lock; if it still runs, stop it" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("content", ["my notes", "[" * 4000, "{}", "[1]", "\0\0", '{"pid": 1}'])
def test_a_file_of_others_is_not_changed(tmp_path, content):
    (tmp_path / "run.lock").write_text(content)
    with pytest.raises(RunFolderError, match="was not made by a run, or is damaged: move it away"):
        taken(tmp_path)
    assert (tmp_path / "run.lock").read_text() == content


def test_links_pipes_and_folders_are_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for make in (
        lambda file: file.symlink_to(tmp_path / "mine.txt"),
        os.mkfifo,
        lambda file: file.mkdir(),
    ):
        folder = tmp_path / str(time.monotonic_ns())
        folder.mkdir()
        make(folder / "run.lock")
        with pytest.raises(RunFolderError, match=r"run\.lock"):
            taken(folder)
    assert (tmp_path / "mine.txt").read_text() == "mine"
