"""Whether two runs have left the same, and what a run has written so far."""

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import tensorflow as tf
from compare_files import Comparison, comparable, contents, files_of

Snapshot = dict[str, tuple[float, int]]
"""When each file of a folder was changed, in seconds since the epoch, and its length in bytes, by its path there."""

_EVENTS = "tfevents"
_HALF_WRITTEN = (".partial", ".old")


def found_differences(expected: Path, received: Path, *, complete: bool = True) -> list[str]:
    """What is not the same in the folders of two runs: files, weights and other arrays bit for bit, tables, settings.

    Durations and dates are left out. What TensorBoard reads may be in another order, and there twice.

    Args:
        expected: The one, which has ended.
        received: The other.
        complete: Whether it has ended, too. Otherwise files may be missing, or be half written under the names that
            files have until they are complete.
    """
    files, theirs = (
        {name: path for name, path in files_of(folder).items() if _EVENTS not in name}
        for folder in (expected, received)
    )
    if not files:
        return ["nothing to compare with"]
    missing, more = files.keys() - theirs.keys(), theirs.keys() - files.keys()
    if not complete:
        missing, more = set(), {name for name in more if not any(mark in name for mark in _HALF_WRITTEN)}
    found = [f"{name} is missing" for name in sorted(missing)] + [f"{name} was left over" for name in sorted(more)]
    for name in sorted(files.keys() & theirs.keys()):
        comparison = Comparison(expected, received, (_without(expected), _without(received)))
        try:
            comparison.compare_file(name, (files[name], theirs[name]))
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
            found.append(f"{name} cannot be read: {error}")
        found += comparison.differences + [note for note in comparison.notes if name.endswith(".png")]
    if complete and _events(expected) != _events(received):
        found.append("other events")
    return found


def snapshot(folder: Path) -> Snapshot:
    """What is in a folder and in all folders in it."""
    found = {}
    for parent, _, names in os.walk(folder):  # folders that a process removes meanwhile are left out
        for file in (Path(parent, name) for name in names):
            with suppress(FileNotFoundError):
                state = file.stat()
                found[file.relative_to(folder).as_posix()] = (state.st_mtime, state.st_size)
    return found


def _without(folder: Path) -> Callable[[str], str]:
    """Takes the place of a run out of a text."""
    return lambda text: text.replace(str(folder.parent), "PLACE")


def _events(run: Path) -> set[tuple[str, str, str]]:
    """Returns folder, tag and step, and value of all that TensorBoard shows of a run."""
    files = sorted(run.rglob(f"*{_EVENTS}*"))
    return {
        (str(file.parent.relative_to(run)), key.partition(" ")[2], comparable(key, value))
        for file in files
        for key, value in _whole_records(file)
    }


def _whole_records(file: Path) -> Iterator[tuple[str, Any]]:
    """Yields the events of a file up to the one that a kill cut off."""
    with suppress(tf.errors.DataLossError):
        yield from contents(file)
