"""Files are read within limits; whatever goes wrong is one line."""

import os
import tracemalloc

import pytest

from tfprune.errors import CheckpointError, ConfigError, PruningError
from tfprune.reading import RefusedError, open_file, read_bytes, read_text, reading, shown


def test_a_regular_file_is_read(tmp_path):
    (tmp_path / "a").write_bytes("ä".encode())
    assert read_bytes(tmp_path / "a", 2) == "ä".encode()
    assert read_text(tmp_path / "a") == "ä"
    with open_file(tmp_path / "a") as file:
        assert file.read() == "ä".encode()


def test_a_longer_file_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"123")
    with pytest.raises(RefusedError, match="it has more than 2 bytes"):
        read_bytes(tmp_path / "a", 2)


@pytest.mark.skipif(not os.path.exists("/proc/version"), reason="files of the system that say that they are empty")
def test_a_file_that_says_it_is_empty():
    with open("/proc/version", encoding="utf-8") as file:
        text = file.read()
    assert os.stat("/proc/version").st_size == 0 < len(text)
    assert read_text("/proc/version") == text
    assert read_text("/proc/version", len(text)) == text
    with pytest.raises(RefusedError, match="it has more than 5 bytes"):
        read_text("/proc/version", 5)


def test_no_more_memory_is_taken_than_the_file_has(tmp_path):
    (tmp_path / "a").write_bytes(b"123")
    tracemalloc.start()
    try:
        assert read_bytes(tmp_path / "a", 1 << 40) == b"123"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 << 20


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RefusedError, match="no regular file"):
        read_bytes(tmp_path / "pipe", 10)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused(path):
    with pytest.raises(RefusedError, match="no regular file"):
        read_text(path)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (RefusedError("it has two heads"), "cannot read f: expected a plan, it has two heads; write it again"),
        (RecursionError("maximum"), "cannot read f: expected a plan, it is nested too deeply; write it again"),
        (MemoryError(), "cannot read f: expected a plan, it needs more memory than there is; write it again"),
        (ValueError("bad\nworse"), "cannot read f: expected a plan, bad; write it again"),
        (FileNotFoundError(2, "No such file"), "cannot read f: No such file; check the path"),
    ],
    ids=repr,
)
def test_what_is_wrong_is_one_line(raised, said):
    with pytest.raises(PruningError) as caught, reading("f", "a plan", error=PruningError, advice="write it again"):
        raise raised
    assert str(caught.value) == said


def test_own_errors_and_interrupts_pass():
    for kind in (ConfigError, KeyboardInterrupt):
        with pytest.raises(kind, match="own"), reading("f", "a plan"):
            raise kind("own")


def test_a_folder_and_text_that_is_none(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match="it is not a text file"), reading(tmp_path / "a", "a plan"):
        read_text(tmp_path / "a")
    with pytest.raises(CheckpointError, match="it is a folder"), reading(tmp_path, "a plan"):
        read_text(tmp_path)


def test_what_a_message_shows_is_short_and_printable():
    bomb = ()
    for _ in range(60):
        bomb = (bomb, bomb)
    assert shown(bomb) == "((...), (...))"
    assert shown({"a": [1] * 100}) == "{'a': [...]}"
    for value in ("x" * 10_000, "\x1b[2J\n", 10**1000, [10**1000], b"\0" * 10_000):
        assert len(shown(value)) <= 40
        assert shown(value).isprintable()
