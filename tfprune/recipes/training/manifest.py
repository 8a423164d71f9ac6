"""What a run made in its folder: the list `run.json`, the names that runs give, and the removal of a run.

The list alone decides nothing, because anybody can write one. What is removed has a name that runs give, is in the
folder itself, and is reached through no link; if a list names anything else, nothing at all is removed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tfprune.errors import RunFolderError
from tfprune.files import write_text
from tfprune.locks import RUN_LOCK
from tfprune.reading import RefusedError, read_json, reading
from tfprune.reprs import short_repr

MANIFEST = "run.json"
SHARED = ("metrics", "events", "checkpoints")
"""Folders in which users may have files of their own."""

_FILES = (
    "*.keras",
    "best.json",
    "density.csv",
    "environment.json",
    "masks*.npz",
    "masks.png",
    "results.csv",
    "results.json",
    "sanity.csv",
    "sanity.json",
    "sanity.png",
    "search.npz",
    "seconds.json",
    "settings.yaml",
    "ticket.npz",
)
_FOLDERS = {
    "metrics": ("*.csv", "*.jsonl"),
    "events": ("*/events.out.tfevents.*",),
    "checkpoints": ("*/checkpoint", "*/ckpt-*"),
    "saved_model": ("*",),
    "*_knowledge": ("bank.json", "shard-*.npy"),
    "runs": ("*_seed*",),
}
"""Folders by name, and what a run makes in them."""


@dataclass
class Manifest:
    """The content of `run.json`.

    Attributes:
        made: The top-level names that the run made.
        settings: The settings that decide its result; None in folders of older versions.
    """

    made: list[str] = field(default_factory=list)
    settings: Mapping[str, Any] | None = None

    __repr__ = short_repr

    @classmethod
    def read(cls, folder: Path) -> "Manifest | None":
        """Reads the list of a folder; None if there is none.

        Raises:
            RunFolderError: It is damaged, or not such a list.
        """
        file = folder / MANIFEST
        if not os.path.lexists(file):
            return None
        advice = "move it away, or take another --train_path"
        with reading(file, "the list of a run's files", error=RunFolderError, advice=advice):
            if file.is_symlink():
                raise RefusedError("it is a link")
            content = read_json(file, finite=False)
            made = content.get("made") if isinstance(content, dict) else None
            if not isinstance(made, list) or not all(isinstance(name, str) and is_plain(name) for name in made):
                raise RefusedError("it names something other than files in this folder")
            settings = content.get("settings")
            if len(content) > 1 and content.get("sha256") != _digest(made, settings):
                raise RefusedError("it is damaged")
        return cls(made, settings)

    def write(self, folder: Path) -> None:
        """Writes the list."""
        content: dict[str, Any] = {"made": self.made}
        if self.settings is not None:
            content |= {"settings": self.settings, "sha256": _digest(self.made, self.settings)}
        write_text(folder / MANIFEST, json.dumps(content, indent=1) + "\n")


def is_plain(name: str) -> bool:
    """Returns whether a name is that of an entry of a run folder that a run can make.

    Example:
        >>> [is_plain(name) for name in ("masks.npz", "..", "a/b", "", "run.json")]
        [True, False, False, False, False]
    """
    return Path(name).name == name and name not in ("", "..", MANIFEST, RUN_LOCK) and "\0" not in name


def known_names(folder: Path, more: Iterable[str] = ()) -> list[str]:
    """Returns the names in a folder that runs give, in alphabetical order.

    Args:
        folder: The folder.
        more: More names or patterns of files.
    """
    names = sorted(entry.name for entry in folder.iterdir())
    return [name for name in names if _matches(name, (*_FILES, *_FOLDERS, *more)) and is_plain(name)]


def remove_run(folder: Path, names: Iterable[str], more: Iterable[str] = ()) -> None:
    """Removes what a run made, the list last, so that a removal that was killed can be repeated.

    Args:
        folder: The run folder.
        names: The names in its list.
        more: Names or patterns of files that the run may make besides those of all runs.

    Raises:
        RunFolderError: One of them is nothing that a run makes, or is not in the folder; nothing was removed.
    """
    root, home = folder.resolve(), Path(os.path.expanduser("~")).resolve()
    if root.parent == root or root == home or root in home.parents:
        raise RunFolderError(f"{root} is no run folder: nothing was removed; take another --train_path")
    entries = [folder / name for name in dict.fromkeys(names) if os.path.lexists(folder / name)]
    doomed = [path for entry in entries for path in _made(entry, more)]
    for path in doomed:
        if path.resolve() != root / path.relative_to(folder):
            raise _refused(path, "is a link, or in a folder that is one")
    for path in doomed:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for entry in filter(Path.is_dir, entries):
        _remove_if_empty(*filter(Path.is_dir, entry.iterdir()), entry)
    (folder / MANIFEST).unlink()


def _made(entry: Path, more: Iterable[str]) -> list[Path]:
    """Returns what a run made under a name of its folder."""
    if entry.is_symlink():
        raise _refused(entry, "is a link")
    if entry.is_file() and _matches(entry.name, (*_FILES, *more)):
        return [entry]
    contents = [patterns for name, patterns in _FOLDERS.items() if entry.is_dir() and fnmatchcase(entry.name, name)]
    if not contents:
        raise _refused(entry, "has no name that runs give")
    return [path for patterns in contents for pattern in patterns for path in sorted(entry.glob(pattern))]


def _refused(path: Path, reason: str) -> RunFolderError:
    return RunFolderError(f"{path} {reason}: nothing was removed; remove it yourself, or take another --train_path")


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _remove_if_empty(*folders: Path) -> None:
    for folder in folders:
        if not any(folder.iterdir()):
            folder.rmdir()


def _digest(made: list[str], settings: Any) -> str:
    return hashlib.sha256(json.dumps([made, settings]).encode()).hexdigest()
