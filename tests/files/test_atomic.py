import os
import signal
import subprocess
import sys

import pytest

from tfprune.files import WriteError, replaced_file, write_bytes, write_text


def test_the_file_appears_when_it_is_whole(tmp_path):
    with replaced_file(tmp_path / "file.txt") as partial:
        partial.write_text("new")
        assert partial.suffix == ".txt"
        assert not (tmp_path / "file.txt").exists()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file.txt", "new")]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_on_the_way_leaves_the_old_file(tmp_path, monkeypatch, step):
    write_text(tmp_path / "file", "old")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(WriteError, match=rf"^cannot write {tmp_path}/file: No space left on device; make room"):
        write_text(tmp_path / "file", "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "old")]


KILLED = """
import os, signal, sys
from pathlib import Path
from tfprune.files import write_text
setattr(os, sys.argv[2], lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
write_text(Path(sys.argv[1]), "new" * 9999)
"""


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_kill_on_the_way_leaves_the_old_file_and_the_next_write_clears_up(tmp_path, step):
    file = tmp_path / "file"
    write_text(file, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(file), step], check=False)
    assert done.returncode == -signal.SIGKILL
    assert file.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    write_text(file, "newer")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file", "newer")]


def test_no_room(tmp_path, small_files):
    write_bytes(tmp_path / "file", b"old")
    with small_files(1000), pytest.raises(WriteError, match=r"cannot write .*file: File too large"):
        write_bytes(tmp_path / "file", bytes(5000))
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("file", b"old")]
