"""What a user reads when a file cannot be written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

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
        tfprune.files.writing.WriteError: cannot write table.csv: No space left on device; make room or ...
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
