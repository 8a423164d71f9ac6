"""The folder that holds everything a run makes."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
import yaml

from tfprune.errors import RunFolderError
from tfprune.files import write_text, writing
from tfprune.training.environment import describe_environment
from tfprune.training.metrics_log import MetricsLog

_MANIFEST = "run.json"
_SETTINGS = "settings.yaml"
# What a training writes into the folders that people also look into; anything else in there stays.
_CONTENTS = {
    "metrics": ("*.csv", "*.jsonl"),
    "events": ("*/events.out.tfevents.*",),
    "checkpoints": ("*/checkpoint", "*/ckpt-*"),
}


class RunFolder:
    """Settings, environment, metrics, events, checkpoints, results and models of one run.

    Every top-level name that a run makes stands in `run.json`; starting anew removes those and nothing else. Make one
    with `RunFolder.create`.

    Attributes:
        path: The folder.
        resumed: Whether it already held the run.
    """

    def __init__(self, path: Path, *, resumed: bool, entries: list[str]) -> None:
        self.path = path
        self.resumed = resumed
        self._entries = entries

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        settings: Mapping[str, Any],
        *,
        resume: bool = False,
        overwrite: bool = False,
        seed: int | None = None,
    ) -> "RunFolder":
        """Makes the folder, or opens the run in it.

        Args:
            path: The folder; its parents are made too.
            settings: What decides the result, as plain values (numbers, strings, lists).
            resume: Continue the run that is there, if any.
            overwrite: Remove the run that is there, if any: its own files only.
            seed: Recorded in `environment.json`.

        Raises:
            RunFolderError: If the folder cannot be written, holds a run and neither flag is given, holds a run with
                other settings (`resume`), or holds foreign files under names that a run needs.
        """
        path = Path(path)
        settings = yaml.safe_load(yaml.safe_dump(dict(settings)))
        try:
            path.mkdir(parents=True, exist_ok=True)
            entries = _read_manifest(path)
            if entries is not None and overwrite:
                _remove(path, entries)
                entries = None
            # A run that was killed before its settings were written has done nothing yet.
            if entries is not None and (path / _SETTINGS).exists():
                if not resume:
                    raise RunFolderError(
                        f"{path} already holds a run: add --resume to continue it, --overwrite to start anew, "
                        "or another --train_path"
                    )
                _check_same(path, settings)
                return cls(path, resumed=True, entries=entries)
            run = cls(path, resumed=False, entries=entries or [])
            run._write_start(settings, seed)
        except OSError as error:
            raise RunFolderError(f"cannot write the run folder {path}: {error.strerror or error}") from error
        return run

    def file(self, name: str) -> Path:
        """Path of a top-level file or folder that the run is about to make, known from now on as the run's own.

        Raises:
            RunFolderError: If it exists and no run made it, or the name is not a plain one.
        """
        if Path(name).name != name or name == _MANIFEST:
            raise RunFolderError(f"expected a plain file name, received {name!r}")
        if name not in self._entries:
            if (self.path / name).exists() and name not in _CONTENTS:
                raise RunFolderError(
                    f"{self.path / name} exists and was not made by a run: move it away, or take another --train_path"
                )
            self._entries.append(name)
            write_text(self.path / _MANIFEST, json.dumps({"made": self._entries}, indent=1) + "\n")
        return self.path / name

    def folder(self, name: str) -> Path:
        """As `file`, for a folder, which is made."""
        path = self.file(name)
        with writing(path):
            path.mkdir(exist_ok=True)
        return path

    def metrics(self, name: str, *, last_step: int = -1) -> MetricsLog:
        """The table `metrics/<name>.csv` (and `.jsonl`) with its rows up to a step; by default empty."""
        return MetricsLog(self.folder("metrics") / name, last_step=last_step)

    def events(self, name: str) -> tf.summary.SummaryWriter:
        """A TensorBoard writer in `events/<name>`; what was written there before is removed."""
        folder = self.folder("events") / name
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        with writing(folder, tf.errors.OpError):
            return tf.summary.create_file_writer(str(folder))

    def checkpoints(self, name: str) -> Path:
        """The folder `checkpoints/<name>`."""
        folder = self.folder("checkpoints") / name
        with writing(folder):
            folder.mkdir(exist_ok=True)
        return folder

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Writes the run's result to `results.csv` (one row under a header) and `results.json`."""
        table = ",".join(map(_csv_field, result)) + "\n" + ",".join(map(_csv_field, result.values())) + "\n"
        write_text(self.file("results.csv"), table)
        write_text(self.file("results.json"), json.dumps(dict(result), indent=1) + "\n")

    def _write_start(self, settings: Mapping[str, Any], seed: int | None) -> None:
        environment = {**describe_environment(), "seed": seed}
        write_text(self.file("environment.json"), json.dumps(environment, indent=1) + "\n")
        # Last, because it is what makes the folder a run.
        write_text(self.file(_SETTINGS), yaml.safe_dump(settings, sort_keys=False))


def _read_manifest(path: Path) -> list[str] | None:
    manifest = path / _MANIFEST
    if not manifest.exists():
        return None
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))["made"]
        if all(isinstance(name, str) and Path(name).name == name for name in entries):
            return entries
    except (ValueError, KeyError, TypeError):
        pass
    raise RunFolderError(f"{manifest} is not the list of a run's files: move it away, or take another --train_path")


def _check_same(path: Path, settings: Mapping[str, Any]) -> None:
    old = yaml.safe_load((path / _SETTINGS).read_text(encoding="utf-8")) or {}
    changed = sorted(key for key in {*old, *settings} if old.get(key) != settings.get(key))
    if changed:
        changes = ", ".join(f"{key} ({old.get(key)!r} -> {settings.get(key)!r})" for key in changed)
        raise RunFolderError(
            f"cannot resume the run in {path} with other settings: {changes}; give the old values, or another "
            "--train_path"
        )


def _remove(path: Path, entries: list[str]) -> None:
    """Removes what the manifest names, and the manifest last, so that a killed removal can be repeated."""
    for name in entries:
        entry = path / name
        if entry.is_symlink() or not entry.is_dir():
            entry.unlink(missing_ok=True)
        elif name in _CONTENTS:
            for file in (file for pattern in _CONTENTS[name] for file in entry.glob(pattern)):
                file.unlink()
            _remove_if_empty(*(folder for folder in entry.iterdir() if folder.is_dir()), entry)
        else:
            shutil.rmtree(entry)
    (path / _MANIFEST).unlink()


def _remove_if_empty(*folders: Path) -> None:
    for folder in folders:
        if not any(folder.iterdir()):
            folder.rmdir()


def _csv_field(value: Any) -> str:
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n') else text
