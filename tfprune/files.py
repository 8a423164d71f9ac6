"""What a user reads when a file cannot be written."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tfprune.errors import RunFolderError


class WriteError(RunFolderError, OSError):
    """A file cannot be written: no room, no permission. It is an `OSError`, too, for those who give it other words.

    Args:
        message: The whole line.
        reason: What the system said, as `strerror`.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.strerror = reason


@contextmanager
def writing(path: str | os.PathLike[str], *failures: type[Exception]) -> Iterator[None]:
    """Turns what goes wrong while a file is written into one line.

    Args:
        path: The file or folder, for the message.
        *failures: Errors besides `OSError` that the block may raise when it cannot write, such as `tf.errors.OpError`.

    Raises:
        WriteError: The block raised one of these.

    Example:
        >>> with writing("table.csv"):
        ...     raise OSError(28, "No space left on device")
        Traceback (most recent call last):
        tfprune.files.WriteError: cannot write table.csv: No space left on device; make room or ...
    """
    kinds: tuple[type[Exception], ...] = (OSError, *failures)
    try:
        yield
    except WriteError:
        raise
    except kinds as error:
        reason = _reason(error)
        advice = "make room, or name a folder that can be written; what was complete before is kept"
        raise WriteError(f"cannot write {os.fspath(path)}: {reason}; {advice}", reason) from error


def _reason(error: Exception) -> str:
    """The last part of a message such as `{{node x}} /run/ckpt-1.index; No space left on device [Op:SaveV2]`."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first.split(" [Op:")[0].rsplit("; ", 1)[-1]


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Replaces a file in one step when the block is through; a block that fails, or a kill, leaves the old one.

    Args:
        path: The file, in a folder that exists.

    Yields:
        The file to write instead, beside `path` and with its suffix.

    Raises:
        WriteError: It cannot be written.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        with writing(path):
            yield partial
            _to_disk(partial)
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file in one step, see `replaced_file`."""
    with replaced_file(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replaces a text file in one step, see `replaced_file`."""
    write_bytes(path, text.encode("utf-8"))


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Keeps other processes that ask for the same lock out of a folder while the block runs.

    The lock is the folder's own and leaves no file; a process that dies gives it up.

    Args:
        folder: Is made if it is missing.

    Raises:
        RunFolderError: The folder cannot be made, or its file system knows no locks.
    """
    import fcntl

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise RunFolderError(f"cannot lock {folder}: {error.strerror}; take a folder on a local disk") from error
        yield
    finally:
        os.close(handle)


class ResultsTable:
    """A CSV file to which runs append a row each, one process after the other.

    Args:
        path: The file; it, and its folder, are made with the first row.
        columns: Names of the columns.
        key: Those of them that tell rows apart.
    """

    def __init__(self, path: Path, columns: Sequence[str], key: Sequence[str]) -> None:
        self._path = path
        self._columns = list(columns)
        self._key = list(key)

    def check(self) -> None:
        """Raises an error if rows could not be appended; worth knowing before a long run.

        Raises:
            RunFolderError: The table has other columns, or cannot be read.
        """
        self._rows(self._whole_lines())

    def append(self, row: Mapping[str, object]) -> None:
        """Adds a row, unless one of the same key is there: it was written before the run was resumed.

        A line that a killed process left unfinished is removed.

        Args:
            row: A value for each column.

        Raises:
            RunFolderError: The table has other columns, or cannot be written.
        """
        with folder_lock(self._path.parent):
            whole = self._whole_lines()
            rows = self._rows(whole)
            values = {name: "" if row[name] is None else str(row[name]) for name in self._columns}
            if any(all(each.get(name) == values[name] for name in self._key) for each in rows):
                return
            self._write(len(whole), values, header=not whole)

    def _whole_lines(self) -> bytes:
        """The file without what follows its last line break."""
        if not self._path.exists():
            return b""
        try:
            content = self._path.read_bytes()
        except OSError as error:
            raise RunFolderError(f"cannot read {self._path}: {error.strerror}; move it away") from error
        return content[: content.rfind(b"\n") + 1]

    def _rows(self, lines: bytes) -> list[dict[str, str]]:
        reader = csv.DictReader(io.StringIO(lines.decode("utf-8", errors="replace")))
        if lines and list(reader.fieldnames or ()) != self._columns:
            raise RunFolderError(
                f"expected the columns {', '.join(self._columns)} in {self._path}, found "
                f"{', '.join(reader.fieldnames or ())}; move the file away, or write to another folder"
            )
        return list(reader)

    def _write(self, place: int, values: Mapping[str, str], *, header: bool) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerow(values)
        with writing(self._path), self._path.open("r+b" if self._path.exists() else "wb") as file:
            file.truncate(place)
            file.seek(place)
            file.write(text.getvalue().encode())
