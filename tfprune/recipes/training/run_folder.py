"""The folder with everything that a run writes.

`RunFolder` creates or reopens it and never touches files of others: `run.json` lists the names that the run created.
Its tables are `MetricsLog`s. Of several workers only the chief writes there; the others have a `WorkerFolder`.
"""

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
from tfprune.files import as_path, csv_text, write_text, writing

_MANIFEST = "run.json"
_SETTINGS = "settings.yaml"
# Files that a training writes into folders where users may put files of their own, which are not removed.
_CONTENTS = {
    "metrics": ("*.csv", "*.jsonl"),
    "events": ("*/events.out.tfevents.*",),
    "checkpoints": ("*/checkpoint", "*/ckpt-*"),
}
_PRIVATE = ("metrics", "events", "checkpoints")  # a worker does not see those of the chief
Row: TypeAlias = dict[str, float | str]


class MetricsLog:
    """A growing table in `<stem>.csv` and `<stem>.jsonl`; every row has a `step`.

    Args:
        stem: Path of the two files without their suffix.
        last_step: Rows of later steps are removed: they were written after the checkpoint to continue from.

    Attributes:
        rows: The rows in the files.

    Raises:
        RunFolderError: The table is damaged or cannot be written.
    """

    def __init__(self, stem: Path, *, last_step: int) -> None:
        self._csv = stem.with_name(stem.name + ".csv")
        self._jsonl = stem.with_name(stem.name + ".jsonl")
        self.rows = [row for row in self._read() if float(row["step"]) <= last_step]
        write_text(self._jsonl, "".join(json.dumps(row) + "\n" for row in self.rows))
        write_text(self._csv, csv_text(self.rows, header=True) if self.rows else "")

    def append(self, row: Mapping[str, float | str]) -> None:
        """Writes a row; it remains if the process is killed after that.

        Args:
            row: A value per column.

        Raises:
            RunFolderError: Its columns are not those of the rows before, or it cannot be written.
        """
        if self.rows and list(row) != list(self.rows[0]):
            raise RunFolderError(f"{self._csv}: expected the columns {list(self.rows[0])}, received {list(row)}")
        # The JSON lines are what a resumed run reads; it rewrites the CSV file from them.
        with writing(self._jsonl), self._jsonl.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")
        with writing(self._csv), self._csv.open("a", encoding="utf-8", newline="") as file:
            file.write(csv_text([dict(row)], header=not self.rows))
        self.rows.append(dict(row))

    def _read(self) -> list[Row]:
        """Returns the complete rows of the file."""
        if not self._jsonl.exists():
            return []
        rows = []
        for line in self._jsonl.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n"):
                break  # the process was killed, or the disk was full, while it wrote this row
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise RunFolderError(
                    f"{self._jsonl} is damaged: line {len(rows) + 1} is not a row; remove it"
                ) from error
        return rows


class RunFolder:
    """Settings, environment, metrics, events, checkpoints, results and models of one run.

    `run.json` lists the top-level names that the run created; overwriting the run removes these and nothing else. Use
    `RunFolder.create` to make one.

    Attributes:
        path: The folder.
        resumed: Whether it already contained the run.
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
        """Creates the folder, or opens the run in it.

        Args:
            path: The folder; missing parents are created, too.
            settings: The settings that decide the result, as plain values (numbers, strings, lists).
            resume: Whether to continue a run that is there.
            overwrite: Whether to remove a run that is there: only the files that it created.
            seed: Seed of the run, for `environment.json`.

        Returns:
            The folder.

        Raises:
            RunFolderError: The folder cannot be written, contains a run and neither flag is given, contains a run with
                other settings (`resume`), or other files under names that a run needs.
        """
        path = as_path(path)
        settings = yaml.safe_load(yaml.safe_dump(dict(settings)))
        try:
            path.mkdir(parents=True, exist_ok=True)
            entries = _read_manifest(path)
            if entries is not None and overwrite:
                _remove(path, entries)
                entries = None
            # If the settings are missing, the run was killed before it did anything.
            if entries is not None and (path / _SETTINGS).exists():
                if not resume:
                    raise RunFolderError(
                        f"{path} already holds a run: add --resume to continue it, --overwrite to replace it, "
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
        """Returns the path of a top-level file or folder that the run is going to create, and lists it in `run.json`.

        Args:
            name: A name without folders.

        Raises:
            RunFolderError: It exists and was not made by a run, or the name contains folders.
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
        """Creates a top-level folder; arguments and errors as for `file`."""
        path = self.file(name)
        with writing(path):
            path.mkdir(exist_ok=True)
        return path

    def metrics(self, name: str, *, last_step: int = -1) -> MetricsLog:
        """Opens the table `metrics/<name>.csv` (and `.jsonl`).

        Args:
            name: Name of the table.
            last_step: Step up to which rows are kept. Default: none are kept.

        Raises:
            RunFolderError: The table is damaged or cannot be written.
        """
        return MetricsLog(self.folder("metrics") / name, last_step=last_step)

    def events(self, name: str) -> tf.summary.SummaryWriter:
        """Returns a TensorBoard writer in `events/<name>`; older events there are removed.

        Args:
            name: Name of the folder.

        Raises:
            RunFolderError: It cannot be written.
        """
        folder = self.folder("events") / name
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        with writing(folder, tf.errors.OpError):
            return tf.summary.create_file_writer(str(folder))

    def checkpoints(self, name: str) -> Path:
        """Creates the folder `checkpoints/<name>`, if it is missing, and returns its path.

        Args:
            name: Name of the folder.

        Raises:
            RunFolderError: It cannot be created.
        """
        folder = self.folder("checkpoints") / name
        with writing(folder):
            folder.mkdir(exist_ok=True)
        return folder

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Writes the result of the run to `results.csv` (a header and one row) and `results.json`.

        Args:
            result: A value per column.

        Raises:
            RunFolderError: The files cannot be written.
        """
        table = ",".join(map(_csv_field, result)) + "\n" + ",".join(map(_csv_field, result.values())) + "\n"
        write_text(self.file("results.csv"), table)
        write_text(self.file("results.json"), json.dumps(dict(result), indent=1) + "\n")

    def _write_start(self, settings: Mapping[str, Any], seed: int | None) -> None:
        """Writes environment and settings of a new run."""
        environment = {**_environment(), "seed": seed}
        write_text(self.file("environment.json"), json.dumps(environment, indent=1) + "\n")
        # Last, because a folder with settings is a run.
        write_text(self.file(_SETTINGS), yaml.safe_dump(settings, sort_keys=False))


def _read_manifest(path: Path) -> list[str] | None:
    """Returns the names in `run.json`; None if the folder contains no run."""
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
    """Raises RunFolderError if the run has other settings."""
    old = yaml.safe_load((path / _SETTINGS).read_text(encoding="utf-8")) or {}
    changed = sorted(key for key in {*old, *settings} if old.get(key) != settings.get(key))
    if changed:
        changes = ", ".join(f"{key} ({old.get(key)!r} -> {settings.get(key)!r})" for key in changed)
        raise RunFolderError(
            f"cannot resume the run in {path} with other settings: {changes}; give the old values, or another "
            "--train_path"
        )


def _remove(path: Path, entries: list[str]) -> None:
    """Removes the files of a run, `run.json` last, so that a removal that was killed can be repeated."""
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
    """Returns a value as text for a CSV file, quoted if it must be."""
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n') else text


class WorkerFolder(RunFolder):
    """A temporary folder of a worker that is not the chief, in which the finished files of the chief are visible.

    All workers run the same stages and skip those that the chief has finished. What this worker writes is removed when
    its process ends.

    Args:
        chief: The folder of the chief, on a file system that the workers share.
    """

    def __init__(self, chief: Path) -> None:
        path = Path(tempfile.mkdtemp(prefix="worker-"))
        super().__init__(path, resumed=False, entries=[])
        self._removal = weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        self._chief = chief.resolve()

    def file(self, name: str) -> Path:
        """Returns the path of a top-level file or folder.

        If only the chief has it, the path is a link to it. Files are written by replacing them, which replaces the
        link, not the file of the chief.

        Raises:
            RunFolderError: The name contains folders.
        """
        if Path(name).name != name:
            raise RunFolderError(f"expected a plain file name, received {name!r}")
        path = self.path / name
        if name not in _PRIVATE and not path.exists() and (self._chief / name).exists():
            path.symlink_to(self._chief / name)
        return path


def _environment() -> dict[str, Any]:
    """Returns versions, devices and command line, as plain values for `environment.json`."""
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
