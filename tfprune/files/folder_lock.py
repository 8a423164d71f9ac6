"""Work on the files of a folder that several processes share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfprune.errors import RunFolderError
from tfprune.files.writing import writing


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
