"""Where exports are written: files and folders that are replaced in one step when they are complete.

They are stricter than `tfprune.files.replaced_file`: a user names these paths, so what is found there must be of the
same kind, and missing folders are created.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.files import replaced_file, writing


def output_path(path: str | os.PathLike[str], suffix: str) -> Path:
    """Returns the path of a file to write; raises `ConfigError` if it has another suffix."""
    path = Path(path)
    if path.suffix != suffix:
        raise ConfigError(f"expected a file name that ends in {suffix}, received {path}; rename it")
    return path


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """Replaces a file in one step when the block is complete; a block that fails leaves the old one.

    Args:
        path: The file; a missing folder is created.

    Yields:
        The file to write instead, beside `path` and with its suffix.

    Raises:
        ConfigError: There is something other than a file at `path`; it is not changed.
        WriteError: It cannot be written.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"expected a file to replace or nothing at {path}, found something else; name another")
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(path) as partial:
        yield partial


@contextmanager
def output_folder(path: Path, content: frozenset[str]) -> Iterator[Path]:
    """Replaces a folder when the block is complete; a block that fails leaves the old one.

    Args:
        path: The folder; missing folders above it are created.
        content: All names that a folder of this kind may contain.

    Yields:
        The folder to write instead, which does not exist yet.

    Raises:
        ConfigError: There is something other than such a folder at `path`; it is not changed.
        WriteError: It cannot be written.
    """
    partial, old = (path.with_name(f".{path.name}.{state}") for state in ("partial", "old"))
    if old.exists() and not path.exists():  # a process was killed between the two renames below
        os.replace(old, path)
    if path.exists() and not (path.is_dir() and content.issuperset(entry.name for entry in path.iterdir())):
        raise ConfigError(
            f"expected a folder with nothing but {', '.join(sorted(content))} to replace, or nothing, at {path}; "
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
