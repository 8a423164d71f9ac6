"""Files and folders that are either old or new, never half."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from tfprune import files
from tfprune.errors import ConfigError
from tfprune.files import writing


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Replaces a file in one step when the block is through; a block that fails leaves the old one.

    Args:
        path: The file; a missing folder is made.

    Yields:
        The file to write instead, beside `path` and with its suffix.

    Raises:
        ConfigError: There is something else than a file at `path`; it is left alone.
        WriteError: It cannot be written.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"expected a file to replace or nothing at {path}, found something else; name another")
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with files.replaced_file(path) as partial:
        yield partial


@contextmanager
def replaced_folder(path: Path, kept_in: frozenset[str]) -> Iterator[Path]:
    """Replaces a folder when the block is through; a block that fails leaves the old one.

    Args:
        path: The folder; missing ones above it are made.
        kept_in: Names of everything that may lie in a folder of this kind.

    Yields:
        The folder to write instead, which does not exist yet.

    Raises:
        ConfigError: There is something else than such a folder at `path`; it is left alone.
        WriteError: It cannot be written.
    """
    partial, old = (path.with_name(f".{path.name}.{state}") for state in ("partial", "old"))
    if old.exists() and not path.exists():  # a process was killed between the two renames below
        os.replace(old, path)
    if path.exists() and not (path.is_dir() and kept_in.issuperset(entry.name for entry in path.iterdir())):
        raise ConfigError(
            f"expected a folder with nothing but {', '.join(sorted(kept_in))} to replace, or nothing, at {path}; "
            "found something else; name another"
        )
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    try:
        with writing(path, tf.errors.OpError):
            yield partial
            # A folder with content cannot be replaced in one step; two renames leave the shortest gap.
            if path.exists():
                os.replace(path, old)
            os.replace(partial, path)
    except BaseException:
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
