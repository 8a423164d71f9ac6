"""Files that are complete or absent, and tables to which several processes append.

Results lie exactly where a user names them: `as_path` and `as_file` check the name, `check_output` checks before long
work that it can be written, and missing folders are created when there is something to write, not before.
`replaced_file`, `write_bytes` and `write_text` replace a file in one step: a killed process or a full disk leaves the
old file. `writing` turns errors of the file system into one line for the user. `ResultsTable` is a CSV file to which
runs append a row each, under `folder_lock`.
"""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tfprune.errors import ConfigError, RunFolderError
from tfprune.reading.content import LARGEST_TEXT, read_bytes, reading
from tfprune.reprs import described

_LONGEST_NAME = 255
"""Bytes of the name of a file or folder, on all usual file systems."""


class WriteError(RunFolderError, OSError):
    """A file cannot be written: no space, no permission. Also an `OSError`, for callers that word the message.

    Args:
        message: The complete message.
        reason: The reason that the system gave, `strerror` of the error.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.strerror = reason


def as_path(path: str | os.PathLike[str]) -> Path:
    """Returns a path that a user gives.

    Args:
        path: The file or folder.

    Raises:
        ConfigError: It is no path: of another type, empty, not UTF-8, or it begins with `~`, which only shells replace.
    """
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise ConfigError(f"expected the path of a file or folder, received {described(path)}")
    if not text.strip() or "\0" in text or not _is_utf8(text):
        raise ConfigError(f"expected the path of a file or folder in UTF-8, received {described(text)}")
    if any(len(part.encode()) > _LONGEST_NAME for part in Path(text).parts):
        raise ConfigError(f"expected names of at most {_LONGEST_NAME} bytes in a path, received {text}")
    if Path(text).parts[:1] == ("~",):
        raise ConfigError(f"expected the path of a file or folder, received {text}; write ~ out")
    return Path(text)


def as_file(path: str | os.PathLike[str]) -> Path:
    """Returns the path of a file to write that a user gives.

    Args:
        path: The file.

    Raises:
        ConfigError: It is no path, see `as_path`, or that of a folder.
        WriteError: There cannot be such a file.
    """
    file = as_path(path)
    if os.fspath(path).endswith("/") or os.path.isdir(file):
        raise ConfigError(f"expected a file to write, {os.fspath(path)} is a folder; name a file")
    with writing(file):
        _exists(_partial(file))  # its name is longer
    return file


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Returns a folder, which is created with those above it unless it exists.

    Raises:
        ConfigError: It is no path, see `as_path`.
        WriteError: It cannot be created.
    """
    folder = as_path(path)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check_output(path: str | None, *, overwrite: bool, suffix: str | None = None, folder: bool = False) -> None:
    """Checks, before any work, that a file can be written; a missing folder is created with it, not before.

    Args:
        path: The file or folder; None if there is nothing to write.
        overwrite: Whether an existing one may be replaced.
        suffix: The suffix that the file must have. Default: any.
        folder: Whether it is a folder.

    Raises:
        ConfigError: It is no path, or the suffix is another one.
        RunFolderError: The file exists and must not be overwritten, or its folder cannot be created.
    """
    if path is None:
        return
    target = as_path(path) if folder else as_file(path)
    if suffix is not None and target.suffix != suffix:
        raise ConfigError(f"expected a file to write that ends in {suffix}, received {path}")
    with writing(path):
        there = _exists(target)
        nearest = next(each for each in target.absolute().parents if _exists(each))
    if there and not overwrite:
        raise RunFolderError(f"{path} exists; add --overwrite to replace it, or name another")
    if there and folder and not target.is_dir():
        raise RunFolderError(f"expected a folder, {path} is a file; name another")
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        reason = "cannot be written" if nearest.is_dir() else "is no folder"
        raise RunFolderError(f"cannot write {path}: {nearest} {reason}; name another")


def _exists(path: Path) -> bool:
    """Returns whether there is anything at a path, a broken link included; raises `OSError` if there cannot be."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


@contextmanager
def writing(path: str | os.PathLike[str], *failures: type[Exception]) -> Iterator[None]:
    """Turns errors while a file is written into one line for the user.

    Args:
        path: The file or folder, for the message.
        *failures: Errors besides `OSError` that the block may raise if it cannot write, such as `tf.errors.OpError`.

    Raises:
        WriteError: The block raised an `OSError` or one of `failures`.

    Example:
        >>> with writing("table.csv"):
        ...     raise OSError(28, "No space left on device")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        tfprune.files.WriteError: cannot write table.csv: No space left on device; make room, or ...
    """
    kinds: tuple[type[Exception], ...] = (OSError, *failures)
    try:
        yield
    except WriteError:
        raise
    except kinds as error:
        reason = _reason(error)
        advice = "make room, or name a folder that can be written; complete files are kept"
        raise WriteError(f"cannot write {os.fspath(path)}: {reason}; {advice}", reason) from error


def _reason(error: Exception) -> str:
    """Returns the last part of a message like `{{node x}} /run/ckpt-1.index; No space left on device [Op:SaveV2]`."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first.split(" [Op:")[0].rsplit("; ", 1)[-1]


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Replaces a file in one step at the end of the block; a block that fails, or is killed, leaves the old file.

    Args:
        path: The file; a missing folder is created.

    Yields:
        The path to write to, in the same folder and with the same suffix.

    Raises:
        WriteError: It cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        with writing(path):
            partial.unlink(missing_ok=True)  # of a killed process; a link would lead to another file
            yield partial
            _to_disk(partial)
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    """Returns where a file is written until it is complete."""
    return path.with_name(f".{path.stem}.partial{path.suffix}")


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file in one step, see `replaced_file`.

    Args:
        path: The file; a missing folder is created.
        content: Its new content.

    Raises:
        WriteError: It cannot be written.
    """
    with replaced_file(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replaces a text file (UTF-8) in one step, see `replaced_file`.

    Args:
        path: The file; a missing folder is created.
        text: Its new content.

    Raises:
        WriteError: It cannot be written.
    """
    write_bytes(path, text.encode("utf-8"))


def csv_text(rows: Sequence[Mapping[str, Any]], *, header: bool = True) -> str:
    """Returns rows as CSV; all have the columns of the first.

    Args:
        rows: Values by column, at least one row.
        header: Whether the names of the columns come first.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _to_disk(path: Path) -> None:
    """Waits until the content of a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def lock_handle(handle: int, path: Path, *, wait: bool) -> bool:
    """Locks an open file or folder for this process until it is closed, which the end of the process does, too.

    Where the file system or the system has no locks, it says so in one line, and the caller goes on.

    Args:
        handle: Of the open file or folder.
        path: Its path, for that line.
        wait: Whether to wait for another process that holds the lock.

    Returns:
        Whether no other process holds it.
    """
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except (OSError, ImportError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this system has no such locks"
        print(f"{path} cannot be locked ({reason}): let no other process write there meanwhile")
    return True


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Locks a folder while the block runs; other processes that lock it wait.

    The lock is on the folder itself and needs no file. It is released when the process ends, however it ends.

    Args:
        folder: The folder; it is created if it is missing.

    Raises:
        WriteError: The folder cannot be created.
    """
    make_folder(folder)
    with writing(folder):
        handle = os.open(folder, os.O_RDONLY)
    try:
        lock_handle(handle, folder, wait=True)
        yield
    finally:
        os.close(handle)


class ResultsTable:
    """A CSV file to which runs append one row each, one process at a time.

    Args:
        path: The file. It is created, with its folder, with the first row.
        columns: Names of the columns.
        key: The columns that identify a row.
    """

    def __init__(self, path: Path, columns: Sequence[str], key: Sequence[str]) -> None:
        self._path = path
        self._columns = list(columns)
        self._key = list(key)

    def check(self) -> None:
        """Checks that rows can be appended; to be called before a long run.

        Raises:
            RunFolderError: The table has other columns, or cannot be read.
        """
        self._rows(self._complete_lines())

    def append(self, row: Mapping[str, object]) -> None:
        """Adds a row, unless the table has one with the same key, from before the run was resumed.

        An incomplete line of a killed process is removed.

        Args:
            row: A value for each column.

        Raises:
            RunFolderError: The table has other columns, or cannot be written.
        """
        with folder_lock(self._path.parent):
            lines = self._complete_lines()
            rows = self._rows(lines)
            values = {name: "" if row[name] is None else str(row[name]) for name in self._columns}
            if any(all(each.get(name) == values[name] for name in self._key) for each in rows):
                return
            self._write(len(lines), values, header=not lines)

    def _complete_lines(self) -> bytes:
        """Returns the content of the file up to its last line break."""
        if not self._path.exists():
            return b""
        with self._reading():
            content = read_bytes(self._path, LARGEST_TEXT)
        return content[: content.rfind(b"\n") + 1]

    def _rows(self, lines: bytes) -> list[dict[str, str]]:
        """Returns the rows of the table and checks its columns."""
        with self._reading():
            reader = csv.DictReader(io.StringIO(lines.decode("utf-8", errors="replace")))
            if lines and list(reader.fieldnames or ()) != self._columns:
                raise RunFolderError(
                    f"expected the columns {', '.join(self._columns)} in {self._path}, found "
                    f"{', '.join(reader.fieldnames or ())}; move the file away, or write to another folder"
                )
            return list(reader)

    def _reading(self) -> AbstractContextManager[None]:
        return reading(self._path, "a table of results", error=RunFolderError, advice="move it away")

    def _write(self, end: int, values: Mapping[str, str], *, header: bool) -> None:
        """Writes a row at `end` and cuts off what was there."""
        with writing(self._path), self._path.open("r+b" if self._path.exists() else "wb") as file:
            file.truncate(end)
            file.seek(end)
            file.write(csv_text([values], header=header).encode())
