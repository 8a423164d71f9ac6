"""The content of files, and one line for the user if it cannot be read."""

import os
import reprlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Any

from tfprune.errors import CheckpointError, TfpruneError, first_line

_UNKNOWN_SIZE = 1 << 20  # bytes; files of the system say that they are empty
LARGEST_TEXT = 64 << 20
"""Bytes of the longest text file that is read: settings, plans, records."""


class RefusedError(ValueError):
    """A file asks for more than its reader gives, or for something that it does not know.

    The message is a clause about the file, such as `it names 3 arrays "conv/kernel"`; it goes into a line for the user.

    Args:
        message: The clause.
        advice: What to do. Default: what the reader advises.
    """

    def __init__(self, message: str, advice: str | None = None) -> None:
        super().__init__(message)
        self.advice = advice


@contextmanager
def reading(
    path: str | os.PathLike[str],
    expected: str,
    *,
    error: type[TfpruneError] = CheckpointError,
    advice: str = "fetch or write it again",
) -> Iterator[None]:
    """Turns whatever the block raises while it reads a file into one line for the user.

    Damaged and hostile files make libraries raise errors of any type, too deep recursion and missing memory among them.
    tfprune's own errors pass as they are.

    Args:
        path: The file, for the message.
        expected: What it should be, such as `a pruning plan`.
        error: The type of the error.
        advice: What to do.

    Raises:
        TfpruneError: The block raised an exception; of the type `error`.

    Example:
        >>> with reading("plan.json", "a pruning plan"):
        ...     raise EOFError("ended early")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        tfprune.errors.CheckpointError: cannot read plan.json: expected a pruning plan, ended early; fetch or ...
    """
    try:
        yield
    except TfpruneError:
        raise
    except OSError as cause:
        reason = cause.strerror or first_line(cause)
        raise error(f"cannot read {os.fspath(path)}: {reason}; check the path") from cause
    except Exception as cause:
        advice = (cause.advice if isinstance(cause, RefusedError) else None) or advice
        raise error(f"cannot read {os.fspath(path)}: expected {expected}, {_reason(cause)}; {advice}") from cause


def _reason(error: Exception) -> str:
    """Returns what is wrong, as a clause."""
    if isinstance(error, RefusedError):
        return str(error)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, UnicodeDecodeError):
        return "it is not a text file"
    return first_line(error)


def open_file(path: str | os.PathLike[str]) -> BufferedReader:
    """Opens a regular file for reading; pipes and devices, which may never end, are refused without waiting for them.

    Args:
        path: The file.

    Returns:
        The opened file, to be closed by the caller.

    Raises:
        OSError: It cannot be opened, or is a folder.
        RefusedError: It is no regular file.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(21, "it is a folder")
        if not stat.S_ISREG(mode):
            raise RefusedError("it is no regular file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """Returns the content of a regular file.

    Args:
        path: The file.
        most: The most bytes it may have.

    Raises:
        OSError: It cannot be read.
        RefusedError: It is no regular file, or is longer.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        most = min(most, max(size, _UNKNOWN_SIZE))
        content = file.read(min(size, most) + 1)  # takes the memory before it reads, and more of it takes longer
        if len(content) > size:
            content += file.read(most - size)
    if len(content) > most:
        raise RefusedError(f"it has more than {most:,} bytes")
    return content


def read_text(path: str | os.PathLike[str], most: int = LARGEST_TEXT) -> str:
    """Returns the content of a regular file of UTF-8 text; arguments and errors as for `read_bytes`.

    Raises:
        UnicodeDecodeError: It is no such text.
    """
    return read_bytes(path, most).decode("utf-8")


def shown(value: Any) -> str:
    """Returns the beginning of a value's `repr` for a message, however large or nested the value is.

    Example:
        >>> shown((1, 2, [3] * 1000))
        '(1, 2, [...])'
    """
    return _REPR.repr(value)[: _REPR.maxstring]


_REPR = reprlib.Repr()
_REPR.maxlevel = 1
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 40
