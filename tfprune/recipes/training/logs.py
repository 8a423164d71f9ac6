"""What a training writes while it runs: tables, TensorBoard events, checkpoints, times.

A `Journal` writes one row per epoch, one per some number of steps, and one per epoch and weight, to tables and
TensorBoard. `ScoreEvents` writes how the scores of weights are distributed. `Checkpoints` writes checkpoints and
restores the latest one that is not damaged. `StageTimes` adds up the seconds of the stages of a run.
"""

import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from types import TracebackType
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.arguments import truth
from tfprune.errors import RunFolderError
from tfprune.files import as_file, as_path, write_text, writing
from tfprune.reading import RefusedError, read_json
from tfprune.recipes.training.run_folder import MetricsLog, Row, RunFolder

_KEPT = 2
_KEYS = ("epoch", "step", "weight")
# TensorFlow's reader raises IndexError if a file ends early, a state that is read refuses what it is not.
_DAMAGED = (tf.errors.OpError, IndexError, RefusedError)


class Journal:
    """Writes rows of metrics to CSV, JSON lines and TensorBoard.

    Events, and rows that the checkpoint does not have, are removed when the journal is opened: the training repeats
    those steps.

    Args:
        run: The run folder; None to keep rows in memory only.
        name: Name of the tables `<name>`, `<name>_steps` and `<name>_weights`, and of the events.
        last_step: Step of the checkpoint to continue from, or 0.
        weights: Whether there is a table of single weights, `<name>_weights`.
        tables: The rows of the checkpoint, see `Journal.tables`. Default: those up to `last_step` in the files, for
            checkpoints of older versions, which have none.

    Attributes:
        tables: The rows so far of all tables by the end of their names; new rows are added to these lists.
    """

    def __init__(
        self,
        run: RunFolder | None,
        name: str,
        *,
        last_step: int,
        weights: bool = False,
        tables: Mapping[str, list[Row]] | None = None,
    ) -> None:
        kinds = ("", "_steps", *(("_weights",) if weights else ()))
        self._logs: dict[str, MetricsLog] = {}
        self._events: tf.summary.SummaryWriter | None = None
        self.tables: dict[str, list[Row]] = {kind: [] for kind in kinds}
        if run is None:
            return
        for kind in kinds:
            rows = None if tables is None else tables.get(kind, [])
            self._logs[kind] = run.metrics(f"{name}{kind}", last_step=last_step, rows=rows)
            self.tables[kind] = self._logs[kind].rows
        self._folder = run.path / "events" / name
        self._events = run.events(name)
        for row in self.tables[""]:
            self._write_events("epoch", row)
        for row in self.tables["_steps"]:
            self._write_events("step", row)
        for row in self.tables.get("_weights", ()):
            self._write_weight_events(row)

    @property
    def epochs(self) -> list[Row]:
        """The rows of all epochs so far."""
        return self.tables[""]

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._events:
            self._events.close()

    def write_epoch(self, row: Row) -> None:
        """Adds the row of an epoch."""
        self._add("", row)
        self._write_events("epoch", row)

    def write_step(self, row: Row) -> None:
        """Adds a row to the table of steps."""
        self._add("_steps", row)
        self._write_events("step", row)

    def write_weights(self, epoch: int, step: int, numbers: Mapping[str, Mapping[str, float]]) -> None:
        """Adds a row for each weight to the table of weights, after an epoch.

        Args:
            epoch: Epochs done so far.
            step: Steps done so far.
            numbers: The columns, by the name of the weight.
        """
        for name, columns in numbers.items():
            row: Row = {"epoch": epoch, "step": step, "weight": name, **columns}
            self._add("_weights", row)
            self._write_weight_events(row)

    def _add(self, kind: str, row: Row) -> None:
        """Adds a row to a table."""
        if self._logs:
            self._logs[kind].append(row)
        else:
            self.tables[kind].append(row)

    def _write_events(self, group: str, row: Row) -> None:
        self._write_scalars(row, {f"{group}/{name}": value for name, value in row.items() if name not in _KEYS})

    def _write_weight_events(self, row: Row) -> None:
        names = [name for name in row if name not in _KEYS]
        self._write_scalars(row, {f"{name}/{row['weight']}": row[name] for name in names})

    def _write_scalars(self, row: Row, scalars: Mapping[str, float | str]) -> None:
        if not self._events:
            return
        with writing(self._folder, tf.errors.OpError):
            with self._events.as_default(step=int(row["step"])):
                for tag, value in scalars.items():
                    tf.summary.scalar(tag, value)
            self._events.flush()


class ScoreEvents:
    """Writes the distributions of the scores of weights for TensorBoard.

    Scores may span many orders of magnitude, as SynFlow's do, so there are two histograms of each weight: `scores`, and
    `scores_log10`, the logarithms of the absolute scores that are not 0.

    Args:
        folder: The folder of the events. What is there stays.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = as_path(folder)
        with writing(self._folder, tf.errors.OpError):
            self._events = tf.summary.create_file_writer(str(self._folder))

    def write(self, step: int, scores: Mapping[str, Any]) -> None:
        """Writes the histograms of a pruning.

        Args:
            step: When it happened, such as an epoch or a round.
            scores: Arrays by the name of the weight.

        Raises:
            WriteError: The events cannot be written.
        """
        with writing(self._folder, tf.errors.OpError):
            with self._events.as_default(step=step):
                for name, values in scores.items():
                    values = np.asarray(values, np.float64)
                    tf.summary.histogram(f"scores/{name}", values)
                    if (used := np.abs(values[values != 0])).size:
                        tf.summary.histogram(f"scores_log10/{name}", np.log10(used))
            self._events.flush()


class Checkpoints:
    """Writes checkpoints to a folder and restores the latest one that is not damaged.

    TensorFlow records a checkpoint as the latest after all of it is written, and stores a checksum of every tensor. If
    a crash of the machine damaged the latest checkpoint, the one before it is used.

    Args:
        folder: An existing folder.
        objects: Content of a checkpoint, by name, see `tf.train.Checkpoint`.
    """

    def __init__(self, folder: Path, objects: Mapping[str, Any]) -> None:
        self._folder = folder
        _remove_damaged_record(folder)
        self._checkpoint = tf.train.Checkpoint(**objects)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder), max_to_keep=_KEPT)

    def __bool__(self) -> bool:
        """Returns whether there are checkpoints."""
        return bool(self._paths())

    def restore(self) -> None:
        """Restores the latest checkpoint that is not damaged; does nothing if there are no checkpoints.

        Raises:
            RunFolderError: All checkpoints are damaged, or they belong to another training.
        """
        damaged: dict[str, str] = {}
        for path in self._paths():
            try:
                self._checkpoint.restore(path).assert_consumed()
            except _DAMAGED as error:
                message = getattr(error, "message", str(error))
                damaged[Path(path).name] = shorten(message.splitlines()[0], 120, placeholder=" ...")
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
                f"no checkpoint in {self._folder} can be read, the latest, {name}, is damaged: {reason}; start "
                "again with --overwrite, or in another --train_path"
            )

    def save(self) -> None:
        """Writes a checkpoint, then removes all older ones but one.

        Raises:
            WriteError: It cannot be written; the checkpoint before it remains.
        """
        try:
            with writing(self._folder, tf.errors.OpError):
                self._manager.save()
        finally:
            for left in self._folder.glob("ckpt-*_temp"):  # of a save that failed or was killed
                shutil.rmtree(left, ignore_errors=True)

    def _paths(self) -> list[str]:
        """Returns the paths of all checkpoints: the one recorded as the latest, then the others, newest first."""
        found = [path.with_suffix("") for path in self._folder.glob("ckpt-*.index")]
        numbered = {int(match[1]): str(path) for path in found if (match := re.fullmatch(r"ckpt-(\d+)", path.name))}
        latest = self._manager.latest_checkpoint
        paths = [numbered[number] for number in sorted(numbered, reverse=True)]
        return [latest, *(path for path in paths if path != latest)] if latest in paths else paths


def _remove_damaged_record(folder: Path) -> None:
    """Removes TensorFlow's record of the checkpoints if it is damaged: its manager cannot read it.

    A record that names files of other folders is damaged, too: the manager would remove them as its old checkpoints.
    """
    try:
        state = tf.train.get_checkpoint_state(folder)
        names = [] if state is None else [state.model_checkpoint_path, *state.all_model_checkpoint_paths]
        damaged = any(Path(name).parent.resolve() != folder.resolve() for name in names)
    except ValueError:
        damaged = True
    if damaged:
        (folder / "checkpoint").unlink()


class StageTimes:
    """Seconds per stage, stored in a file, so that a resumed run adds to them.

    Args:
        path: The JSON file; if it exists, its times are read.
        resumed: Whether it must exist. If it does not, or is damaged, this is said, and the times begin at 0.

    Attributes:
        seconds: Wall time per stage.
    """

    def __init__(self, path: Path, *, resumed: bool = False) -> None:
        self._path = as_file(path)
        self.seconds: dict[str, float] = {}
        if truth("resumed", resumed) or self._path.exists():
            try:
                self.seconds = _seconds(self._path)
            except (OSError, ValueError):
                print(f"{path} is damaged or lost: the seconds of the stages count from here on")
        self._write()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measures the time of the block, also if it is interrupted. The time of a killed process is lost.

        Args:
            name: Name of the stage.

        Raises:
            WriteError: The file cannot be written.
        """
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started
            self._write()

    def _write(self) -> None:
        write_text(self._path, json.dumps(self.seconds) + "\n")


def _seconds(path: Path) -> dict[str, float]:
    """Returns the content of a file with seconds by stage."""
    seconds = read_json(path)
    if not isinstance(seconds, dict) or not all(isinstance(each, float | int) for each in seconds.values()):
        raise RefusedError("it holds something else")
    if any(each < 0 for each in seconds.values()):
        raise RefusedError("it holds other numbers")
    return seconds
