"""Locks on folders and results: one process at a time writes there, from the beginning of its work to the end.

A `Lock` is a small file that says which process works there, and that this process keeps locked. The system releases
the lock when the process ends, however it ends, so what a killed process left behind never blocks another one.
"""

import json
import os
import platform
import shlex
import stat
import sys
import threading
import weakref
from datetime import datetime
from pathlib import Path
from types import TracebackType

from tfprune.errors import RunFolderError
from tfprune.files import lock_handle, writing
from tfprune.reading import json_value, read_bytes, reading

RUN_LOCK = "run.lock"
"""The name of the lock in the folder of a run."""

_KEYS = ("pid", "host", "since", "command")
_MOST = 4096  # bytes of a note that are read
_SHOWN = 120  # characters of a field of a note in messages
_TRIES = 10


class Lock:
    """Holds a lock until `release`, the end of a `with` block, or the end of the process.

    The file is removed at the end. A thread that takes a lock again, such as a notebook that runs a cell twice, takes
    it over from itself; other threads are refused like other processes. Forked children do not hold it.

    Args:
        file: The file; a missing folder is created.
        subject: What is locked, for the message: the path of a folder or of a result.
        advice: What another process that wants the lock can do.

    Raises:
        RunFolderError: Another process, or another thread of this one, holds the lock; or the file is not such a file.
        WriteError: The file cannot be written.

    Example:
        >>> with Lock(Path("run.lock"), Path("run"), "wait for its end"):
        ...     Path("run.lock").exists()
        True
    """

    def __init__(self, file: Path, subject: Path, advice: str) -> None:
        self._thread = threading.current_thread()
        self.handle = _taken(file, subject, advice)
        self._end = weakref.finalize(self, _end, self.handle, file.absolute())
        _HELD[_identity(self.handle)] = self

    def __enter__(self) -> "Lock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Lets others have the lock and removes the file; does nothing if that was done before."""
        self._end()

    @property
    def is_left(self) -> bool:
        """Whether this thread holds the lock, or one that has ended: nobody works there any more."""
        return self._thread is threading.current_thread() or not self._thread.is_alive()

    def forget(self) -> None:
        """Closes the file of a forked child, which inherits it; the parent keeps the lock."""
        if self._end.detach():
            os.close(self.handle)


_HELD: "weakref.WeakValueDictionary[tuple[int, int], Lock]" = weakref.WeakValueDictionary()
"""The locks of this process, by device and number of their file."""


def _forget_all() -> None:
    for lock in list(_HELD.values()):
        lock.forget()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _taken(file: Path, subject: Path, advice: str) -> int:
    """Returns the handle of the locked file, with a note of this process in it."""
    for _ in range(_TRIES):
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            # A link is refused, and a pipe not waited for.
            flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            handle = os.open(file, os.O_RDWR | os.O_CREAT | flags, 0o666)
        try:
            if lock_handle(handle, file, wait=False):
                if _is_at(handle, file):  # not one that its holder removed meanwhile
                    _write_note(handle, file, subject)
                    return handle
            elif (own := _HELD.get(_identity(handle))) is not None and own.is_left:
                own.release()
            else:
                raise _busy(file, subject, advice)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    raise _busy(file, subject, advice)


def _busy(file: Path, subject: Path, advice: str) -> RunFolderError:
    return RunFolderError(f"{subject} is in use: {_holder(file)}; {advice}")


def _write_note(handle: int, file: Path, subject: Path) -> None:
    """Replaces the note of a killed process by that of this one; a file that is no note is not changed."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise RunFolderError(f"{file} is no regular file: move it away")
    old = os.read(handle, _MOST)
    if old:
        advice = "it was not made by a run, or is damaged: move it away"
        with reading(file, "a note of the process that works there", error=RunFolderError, advice=advice):
            pid, host, since, _ = _parsed(old)
        if host != platform.node():
            print(
                f"{subject}: process {pid} on {host} worked there since {since} and no longer holds its lock; if "
                "it still runs, stop it: this file system does not tell other machines about locks"
            )
    values = (os.getpid(), platform.node(), f"{datetime.now():%Y-%m-%d %H:%M:%S}", _command())
    note = dict(zip(_KEYS, values, strict=True))
    with writing(file):
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, json.dumps(note).encode() + b"\n")


def _parsed(content: bytes) -> tuple[str, ...]:
    """Returns the fields of a note, as short printable texts."""
    note = json_value(content)
    texts = (str(note[key]) for key in _KEYS)
    return tuple("".join(each if each.isprintable() else " " for each in text[:_SHOWN]) for text in texts)


def _holder(file: Path) -> str:
    """Returns who works there, as a clause."""
    try:
        pid, host, since, command = _parsed(read_bytes(file, _MOST))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # it has just come, or gone
        return "another process works there"
    return f"process {pid} on {host} works there since {since} ({command})"


def _command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:1000]


def _identity(handle: int) -> tuple[int, int]:
    status = os.fstat(handle)
    return status.st_dev, status.st_ino


def _is_at(handle: int, file: Path) -> bool:
    """Returns whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def _end(handle: int, file: Path) -> None:
    """Removes the file while it is still locked, then closes it."""
    try:
        if _is_at(handle, file):
            file.unlink()
    except OSError:
        pass  # the next process finds its note, and no lock
    os.close(handle)
