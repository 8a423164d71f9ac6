"""The tables and TensorBoard events of one training."""

import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import tensorflow as tf

from tfprune.errors import RunFolderError
from tfprune.files import write_text, writing
from tfprune.recipes.training.run_folder import MetricsLog, Row, RunFolder

_KEPT = 2
# A file that ends early is an IndexError: TensorFlow's reader does not always use its own errors.
_DAMAGED = (tf.errors.OpError, IndexError)


class Journal:
    """Writes a row per epoch, and one per so many steps, to CSV, JSON lines and TensorBoard.

    Rows and events after `last_step` are dropped when it is opened: the training repeats those steps.

    Args:
        run: Where to write; rows are only kept in memory without it.
        name: Of the tables `<name>` and `<name>_steps` and of the events.
        last_step: The step of the checkpoint that is continued, or 0.

    Attributes:
        epochs: The rows of all epochs so far.
    """

    def __init__(self, run: RunFolder | None, name: str, *, last_step: int) -> None:
        self.epochs: list[Row] = []
        self._epoch_log: MetricsLog | None = None
        self._step_log: MetricsLog | None = None
        self._events: tf.summary.SummaryWriter | None = None
        if run is None:
            return
        self._epoch_log = run.metrics(name, last_step=last_step)
        self._step_log = run.metrics(f"{name}_steps", last_step=last_step)
        self._folder = run.path / "events" / name
        self._events = run.events(name)
        self.epochs = list(self._epoch_log.rows)
        for row in self.epochs:
            self._write_events("epoch", row)
        for row in self._step_log.rows:
            self._write_events("step", row)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._events:
            self._events.close()

    def write_epoch(self, row: Row) -> None:
        """Adds an epoch's row."""
        if self._epoch_log:
            self._epoch_log.append(row)
        self.epochs.append(row)
        self._write_events("epoch", row)

    def write_step(self, row: Row) -> None:
        """Adds a row of the steps' table."""
        if self._step_log:
            self._step_log.append(row)
        self._write_events("step", row)

    def _write_events(self, group: str, row: Row) -> None:
        if not self._events:
            return
        with writing(self._folder, tf.errors.OpError):
            with self._events.as_default(step=int(row["step"])):
                for name, value in row.items():
                    if name not in ("epoch", "step"):
                        tf.summary.scalar(f"{group}/{name}", value)
            self._events.flush()


class Checkpoints:
    """Writes checkpoints to a folder and reads back the latest that is sound.

    TensorFlow notes a checkpoint as the latest when all of it is written, and keeps a checksum of every tensor. One
    that a crash of the machine damaged is passed over for the one before.

    Args:
        folder: The folder, which exists.
        objects: What is in a checkpoint, by name, see `tf.train.Checkpoint`.
    """

    def __init__(self, folder: Path, objects: Mapping[str, Any]) -> None:
        self._folder = folder
        _remove_damaged_note(folder)
        self._checkpoint = tf.train.Checkpoint(**objects)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder), max_to_keep=_KEPT)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._paths())

    def restore(self) -> None:
        """Reads the latest sound checkpoint, if there is any at all.

        Raises:
            RunFolderError: None of those that are there can be read, or they belong to another training.
        """
        damaged: dict[str, str] = {}
        for path in self._paths():
            try:
                self._checkpoint.restore(path).assert_consumed()
            except _DAMAGED as error:
                damaged[Path(path).name] = getattr(error, "message", str(error)).splitlines()[0]
            except (AssertionError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise RunFolderError(
                    f"{path} is a checkpoint of another training: {reason}; take another --train_path, or --overwrite"
                ) from error
            else:
                for name, reason in damaged.items():
                    print(f"{self._folder / name} is damaged ({reason}): going on from {Path(path).name}")
                return
        if damaged:
            name, reason = next(iter(damaged.items()))
            raise RunFolderError(
                f"no checkpoint in {self._folder} can be read, the latest, {name}, is damaged: {reason}; start anew "
                "with --overwrite, or in another --train_path"
            )

    def save(self) -> None:
        """Writes one; older ones but the last are removed when it is complete.

        Raises:
            WriteError: It cannot be written; the last one is still there.
        """
        try:
            with writing(self._folder, tf.errors.OpError):
                self._manager.save()
        finally:
            for left in self._folder.glob("ckpt-*_temp"):  # of this save, if it failed, or of a process killed in one
                shutil.rmtree(left, ignore_errors=True)

    def _paths(self) -> list[str]:
        """All checkpoints: first the one that was noted as the latest, then the others from the newest on."""
        found = [path.with_suffix("") for path in self._folder.glob("ckpt-*.index")]
        numbered = {int(match[1]): str(path) for path in found if (match := re.fullmatch(r"ckpt-(\d+)", path.name))}
        latest = self._manager.latest_checkpoint
        paths = [numbered[number] for number in sorted(numbered, reverse=True)]
        return [latest, *(path for path in paths if path != latest)] if latest in paths else paths


def _remove_damaged_note(folder: Path) -> None:
    """TensorFlow's manager cannot start with a note of the latest checkpoint that a crash of the machine emptied."""
    try:
        tf.train.get_checkpoint_state(folder)
    except ValueError:
        (folder / "checkpoint").unlink()


class StageTimes:
    """Seconds per stage, kept in a file, so that a resumed run adds to what was spent before.

    Args:
        path: The JSON file; what it holds is taken over.

    Attributes:
        seconds: Wall time per stage.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what runs inside, also if it is interrupted. A process that is killed leaves no time."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started
            write_text(self._path, json.dumps(self.seconds) + "\n")
