"""The folder that holds everything a run makes."""

import csv
import io
import json
import os
import platform
import shutil
import sys
import tempfile
import weakref
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias

import tensorflow as tf
import yaml

import tfprune
from tfprune.errors import RunFolderError
from tfprune.files import write_text, writing

_MANIFEST = "run.json"
_SETTINGS = "settings.yaml"
# What a training writes into the folders that people also look into; anything else in there stays.
_CONTENTS = {
    "metrics": ("*.csv", "*.jsonl"),
    "events": ("*/events.out.tfevents.*",),
    "checkpoints": ("*/checkpoint", "*/ckpt-*"),
}
_OF_ONE_PROCESS = ("metrics", "events", "checkpoints")
Row: TypeAlias = dict[str, float | str]


class MetricsLog:
    """A growing table in `<stem>.csv` and `<stem>.jsonl`; its rows carry a `step`, by which they are cut on resuming.

    Args:
        stem: Path of the two files without their suffix.
        last_step: Rows of a later step are dropped: they were written after the checkpoint that is continued.

    Attributes:
        rows: The rows that stand in the files.
    """

    def __init__(self, stem: Path, *, last_step: int) -> None:
        self._csv = stem.with_name(stem.name + ".csv")
        self._jsonl = stem.with_name(stem.name + ".jsonl")
        self.rows = [row for row in self._read() if float(row["step"]) <= last_step]
        write_text(self._jsonl, "".join(json.dumps(row) + "\n" for row in self.rows))
        write_text(self._csv, self._as_csv(self.rows, header=True) if self.rows else "")

    def append(self, row: Mapping[str, float | str]) -> None:
        """Writes a row; it survives the process being killed right after.

        Raises:
            RunFolderError: If its columns are not those of the rows before, or it cannot be written.
        """
        if self.rows and list(row) != list(self.rows[0]):
            raise RunFolderError(f"{self._csv}: expected the columns {list(self.rows[0])}, received {list(row)}")
        # The first of the two counts; the other is made of it when the table is opened again.
        with writing(self._jsonl), self._jsonl.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")
        with writing(self._csv), self._csv.open("a", encoding="utf-8", newline="") as file:
            file.write(self._as_csv([dict(row)], header=not self.rows))
        self.rows.append(dict(row))

    def _read(self) -> list[Row]:
        if not self._jsonl.exists():
            return []
        rows = []
        for line in self._jsonl.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n"):
                break  # the process was killed, or the disk was full, while it wrote this row
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise RunFolderError(f"{self._jsonl} is damaged: line {len(rows) + 1} is no row; remove it") from error
        return rows

    @staticmethod
    def _as_csv(rows: list[Row], *, header: bool) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


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


class WorkerFolder(RunFolder):
    """Shows what the chief has finished; takes what this worker writes, which is removed when the process ends.

    So all workers run the same stages, find those done that the chief has done, and leave nothing behind.

    Args:
        chief: The chief's folder, on a file system that the workers share.
    """

    def __init__(self, chief: Path) -> None:
        path = Path(tempfile.mkdtemp(prefix="worker-"))
        super().__init__(path, resumed=False, entries=[])
        self._removal = weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        self._chief = chief.resolve()

    def file(self, name: str) -> Path:
        """Path of a top-level file or folder: a link to the chief's, if there is one and none of this worker.

        Whoever writes a file replaces it, and so the link.
        """
        if Path(name).name != name:
            raise RunFolderError(f"expected a plain file name, received {name!r}")
        path = self.path / name
        if name not in _OF_ONE_PROCESS and not path.exists() and (self._chief / name).exists():
            path.symlink_to(self._chief / name)
        return path


def describe_environment() -> dict[str, Any]:
    """Versions, devices and command line, as plain values for `environment.json`."""
    return {
        "tfprune": tfprune.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in ("tensorflow", "keras", "numpy", "tensorflow-datasets")},
        "devices": [_describe(device) for device in tf.config.get_visible_devices()],
        "argv": sys.argv,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _describe(device: Any) -> str:
    details = tf.config.experimental.get_device_details(device) if device.device_type == "GPU" else {}
    return " ".join([device.name, *([details["device_name"]] if "device_name" in details else [])])
