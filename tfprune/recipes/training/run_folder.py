"""The folder with everything that a run writes.

`RunFolder` creates or reopens it and never touches files of others, see `Manifest`. One process at a time has it.
Its tables are `MetricsLog`s. Of several workers only the chief writes there; the others have a `WorkerFolder`.
"""

import json
import os
import platform
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import tensorflow as tf
import yaml

import tfprune
from tfprune.arguments import each_of, instance, optional, text, truth, whole_number
from tfprune.errors import ConfigError, RunFolderError, first_line
from tfprune.files import as_path, csv_text, write_text, writing
from tfprune.locks import RUN_LOCK, Lock
from tfprune.reading import RefusedError, json_value, read_bytes, reading, shown
from tfprune.reading.content import LARGEST_TEXT
from tfprune.reading.yaml_file import read_settings
from tfprune.recipes.training.manifest import MANIFEST, SHARED, Manifest, is_plain, known_names, remove_run
from tfprune.reprs import described, short

_SETTINGS = "settings.yaml"
_ENVIRONMENT = "environment.json"
Row: TypeAlias = dict[str, float | str]


class MetricsLog:
    """A growing table in `<stem>.csv` and `<stem>.jsonl`; every row has a `step`.

    Args:
        stem: Path of the two files without their suffix.
        last_step: Rows of later steps are removed: they were written after the checkpoint to continue from.
        rows: The rows of the table, such as a checkpoint has them. New rows are added to this list, too. Default: those
            in the files; lines that are damaged are left out, and this is said.

    Attributes:
        rows: The rows in the files.

    Raises:
        RunFolderError: The table cannot be read or written.
    """

    def __init__(self, stem: Path, *, last_step: int, rows: list[Row] | None = None) -> None:
        self._csv = stem.with_name(stem.name + ".csv")
        self._jsonl = stem.with_name(stem.name + ".jsonl")
        if rows is None:
            rows = [row for row in self._read() if float(row["step"]) <= last_step]
        self.rows = rows
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
        with reading(self._jsonl, "a table", error=RunFolderError, advice="remove it"):
            # The last line is incomplete if the process was killed, or the disk was full, while it wrote this row.
            lines = read_bytes(self._jsonl, LARGEST_TEXT).split(b"\n")[:-1]
        found = [_row(line) for line in lines]
        rows = [row for row in found if row is not None]
        rows = [row for row in rows if list(row) == list(rows[0])]
        if len(rows) < len(lines):
            print(f"{self._jsonl} is damaged: {len(lines) - len(rows)} of {len(lines)} lines are left out of the table")
        return rows


def _row(line: bytes) -> Row | None:
    """Returns the row in a line; None if it is none."""
    try:
        row = json_value(line, finite=False)
    except RefusedError:
        return None
    numbers = isinstance(row, dict) and all(isinstance(value, float | int | str) for value in row.values())
    return row if numbers and isinstance(row.get("step"), int) else None


class RunFolder:
    """Settings, environment, metrics, events, checkpoints, results and models of one run.

    `run.json` lists the top-level names that the run created; overwriting the run removes these and nothing else, see
    `remove_run`. Nothing is written or removed through links. Use `RunFolder.create` to make one. It holds the lock
    `run.lock` until `close`, or the end of a `with` block, so that no other process opens the folder.

    Attributes:
        path: The folder.
        resumed: Whether it already contained the run.
    """

    def __init__(self, path: Path, *, resumed: bool, manifest: Manifest, lock: Lock | None = None) -> None:
        self.path = path
        self.resumed = resumed
        self._manifest = manifest
        self._lock = lock

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets other processes have the folder. Without it they get it when this object or process ends."""
        if self._lock is not None:
            self._lock.release()

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        settings: Mapping[str, Any],
        *,
        resume: bool = False,
        overwrite: bool = False,
        seed: int | None = None,
        makes: Iterable[str] = (),
    ) -> "RunFolder":
        """Creates the folder, or opens the run in it.

        Args:
            path: The folder; missing parents are created, too.
            settings: The settings that decide the result, as plain values: finite numbers, texts, lists and dicts.
            resume: Whether to continue a run that is there.
            overwrite: Whether to remove a run that is there: only the files that it created.
            seed: Seed of the run, for `environment.json`.
            makes: Names or patterns (`fold*.npz`) of the files that such a run makes besides those of tfprune's
                methods. `overwrite` removes no files of other names.

        Returns:
            The folder.

        Raises:
            ConfigError: A setting is no plain value, or not finite: a run with it could not be resumed.
            RunFolderError: Another process uses the folder; it cannot be written, contains a run and neither flag is
                given, contains a run with other settings (`resume`), or other files under names that a run needs.
        """
        path, settings = as_path(path), _plain(settings)
        resume, overwrite = truth("resume", resume), truth("overwrite", overwrite)
        seed, makes = optional(whole_number, "seed", seed, at_least=0), each_of(text, "makes", makes)
        try:
            lock = Lock(path / RUN_LOCK, path, "wait for its end, stop it, or take another --train_path")
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            manifest = _restored_manifest(path, settings, makes) if resume else Manifest.read(path)
            if manifest is not None and overwrite:
                remove_run(path, manifest.made, makes)
                manifest = None
            # A run that was killed before it did anything has at most a description of its environment.
            if manifest is not None and any((path / name).exists() for name in manifest.made if name != _ENVIRONMENT):
                if not resume:
                    raise RunFolderError(
                        f"{path} already holds a run: add --resume to continue it, --overwrite to replace it, "
                        "or another --train_path"
                    )
                _check_same(path, manifest, settings)
                return cls(path, resumed=True, manifest=manifest, lock=lock)
            run = cls(path, resumed=False, manifest=Manifest(manifest.made if manifest else [], settings), lock=lock)
            run._write_start(settings, seed)
        except BaseException as error:
            lock.release()
            if isinstance(error, OSError):
                raise _unwritable(path, error) from error
            raise
        return run

    def file(self, name: str) -> Path:
        """Returns the path of a top-level file or folder that the run is going to create, and lists it in `run.json`.

        Args:
            name: A name without folders.

        Raises:
            RunFolderError: It exists and was not made by a run, it is a link, or the name contains folders.
        """
        path, made, settings = self.path / _plain_name(name), self._manifest.made, self._manifest.settings
        _refuse_link(path)
        if name not in made:
            if path.exists() and name not in SHARED:
                raise RunFolderError(
                    f"{path} exists and was not made by a run: move it away, or take another --train_path"
                )
            self._manifest = Manifest([*made, name], settings)
            self._manifest.write(self.path)
        return path

    def folder(self, name: str) -> Path:
        """Creates a top-level folder; arguments and errors as for `file`."""
        path = self.file(name)
        with writing(path):
            path.mkdir(exist_ok=True)
        return path

    def metrics(self, name: str, *, last_step: int = -1, rows: list[Row] | None = None) -> MetricsLog:
        """Opens the table `metrics/<name>.csv` (and `.jsonl`).

        Args:
            name: Name of the table.
            last_step: Step up to which rows are kept. Default: none are kept.
            rows: The rows of the table, see `MetricsLog`. Default: those in the files.

        Raises:
            RunFolderError: The table is damaged or cannot be written.
        """
        return MetricsLog(self.folder("metrics") / _plain_name(name), last_step=last_step, rows=rows)

    def events(self, name: str) -> tf.summary.SummaryWriter:
        """Returns a TensorBoard writer in `events/<name>`; older events there are removed.

        Args:
            name: Name of the folder.

        Raises:
            RunFolderError: It cannot be written.
        """
        folder = self.folder("events") / _plain_name(name)
        _refuse_link(folder)
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
        folder = self.folder("checkpoints") / _plain_name(name)
        _refuse_link(folder)
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
        write_text(self.file(_ENVIRONMENT), json.dumps(environment, indent=1) + "\n")
        # Last, because a folder with settings is a run.
        write_text(self.file(_SETTINGS), _settings_text(settings))


def _plain(settings: Any) -> dict[str, Any]:
    """Returns settings as they are read again from the folder; raises `ConfigError` if one is read as another."""
    found: dict[str, Any] = {}
    for name, value in instance("settings", settings, Mapping, "settings by name").items():
        try:
            found |= json_value(json.dumps({text("settings", name): value}))
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"settings: expected plain values, so that the run can be resumed, received {short(name)} = "
                f"{described(value)}: {first_line(error)}"
            ) from error
    return found


def _plain_name(name: Any) -> str:
    """Returns the name of an entry of a run folder; raises an error of tfprune if it is none, or has folders."""
    if not is_plain(str(as_path(name))):
        raise RunFolderError(f"expected a plain file name, received {described(name)}")
    return text("name", name)


def _settings_text(settings: Mapping[str, Any]) -> str:
    return yaml.safe_dump(settings, sort_keys=False)


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise RunFolderError(
            f"{path} is a link, through which no run writes: put what it leads to in its place, or take another "
            "--train_path"
        )


def _unwritable(path: Path, error: OSError) -> RunFolderError:
    return RunFolderError(f"cannot write the run folder {path}: {error.strerror or error}")


def _restored_manifest(path: Path, settings: Mapping[str, Any], makes: Iterable[str]) -> Manifest | None:
    """Returns the list of a run to resume; one that is damaged or lost is made again if the settings are the run's."""
    same = _content(path / _SETTINGS) == _settings_text(settings).encode()
    try:
        manifest = Manifest.read(path)
        if manifest is not None or not same:
            return manifest
    except RunFolderError:
        if not same:
            raise
    print(f"{path / MANIFEST} is damaged or lost: it is written again, with all names there that runs give")
    manifest = Manifest(known_names(path, makes), settings)
    manifest.write(path)
    return manifest


def _check_same(path: Path, manifest: Manifest, settings: Mapping[str, Any]) -> None:
    """Raises RunFolderError if the run has other settings; writes its settings again if their file is damaged."""
    file, old = path / _SETTINGS, manifest.settings
    if old is None:  # of a version that kept them in the file alone
        old = read_settings(file, error=RunFolderError, advice="start again with --overwrite")
    changed = sorted(key for key in {*old, *settings} if old.get(key) != settings.get(key))
    if changed:
        changes = ", ".join(f"{str(key)[:40]} ({shown(old.get(key))} -> {shown(settings.get(key))})" for key in changed)
        raise RunFolderError(
            f"cannot resume the run in {path} with other settings: {changes}; give the old values, or another "
            "--train_path"
        )
    if manifest.settings is not None and _content(file) != (text := _settings_text(old)).encode():
        print(f"{file} was damaged, changed or lost: it is written again")
        write_text(file, text)


def _content(file: Path) -> bytes | None:
    """Returns the content of a file; None if it cannot be read."""
    try:
        return read_bytes(file, LARGEST_TEXT)
    except (OSError, RefusedError):
        return None


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
        super().__init__(path, resumed=False, manifest=Manifest())
        self._removal = weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        self._chief = chief.resolve()

    def file(self, name: str) -> Path:
        """Returns the path of a top-level file or folder.

        If only the chief has it, the path is a link to it. Files are written by replacing them, which replaces the
        link, not the file of the chief.

        Raises:
            RunFolderError: The name contains folders.
        """
        path = self.path / _plain_name(name)
        if name not in SHARED and not path.exists() and (self._chief / name).exists():
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
