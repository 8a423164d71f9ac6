"""The course of one training: steps, epochs, checkpoints, tables, progress, interrupts.

`Fit` runs a training from its first step, or from its latest checkpoint, to the end. What a checkpoint contains besides
variables is its `LoopState`. `GracefulInterrupt` lets the current step finish after Ctrl-C or SIGTERM, so that a
resumed training ends with the weights of an uninterrupted one.
"""

import json
import math
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import TypeAlias

import keras
import tensorflow as tf
from tqdm import tqdm

from tfprune.errors import RunFolderError, TfpruneError, first_line
from tfprune.reading import Count, RefusedError, Size, typed
from tfprune.recipes.data.dataset import Batch
from tfprune.recipes.training.logs import Checkpoints, Journal
from tfprune.recipes.training.objectives import Metrics
from tfprune.recipes.training.run_folder import Row, RunFolder
from tfprune.tables import count

# Schedulers send SIGTERM some time before they kill a process.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
WeightNumbers: TypeAlias = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class _Stored:
    """What the checkpoint of a `LoopState` holds."""

    step: Count
    epochs_done: Count
    steps_per_epoch: Size
    sums: dict[str, tuple[float, float]]
    tables: dict[str, list[dict[str, int | float | str]]] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.step - self.epochs_done * self.steps_per_epoch <= self.steps_per_epoch:
            raise ValueError(f"step: expected a step of epoch {self.epochs_done + 1}, got {self.step}")
        if any("step" not in row for rows in (self.tables or {}).values() for row in rows):
            raise ValueError("tables: expected rows that have a step")


def _stored(text: str | bytes) -> _Stored:
    """Returns the state in a checkpoint; it may be of any length, as trainings are.

    Raises:
        RefusedError: It is damaged.
    """
    try:
        return typed(json.loads(text), _Stored)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"its state of the training is damaged: {first_line(error)}") from error


class LoopState(tf.train.experimental.PythonState):
    """Number of steps and epochs done, sums of the metrics of the current epoch, and the rows of all tables.

    A checkpoint contains it besides the variables. Metrics are collected as tensors and read in bulk, so that a step
    does not wait for the device.

    Args:
        steps_per_epoch: Optimizer steps of an epoch; a checkpoint with another number is an error.

    Attributes:
        tables: The rows of `Journal.tables`, so that damaged tables do not matter; None if a checkpoint of an older
            version has none.
    """

    def __init__(self, steps_per_epoch: int) -> None:
        self.step = 0
        self.epochs_done = 0
        self.steps_per_epoch = steps_per_epoch
        self.tables: dict[str, list[Row]] | None = {}
        self._sums: dict[str, list[float]] = {}
        self._pending: list[Metrics] = []

    def add(self, metrics: Metrics) -> None:
        """Counts a step and collects its metrics."""
        self.step += 1
        self._pending.append(metrics)
        if len(self._pending) >= 64:
            self._collect()

    def means(self) -> dict[str, float]:
        """Returns the mean of each metric over the current epoch.

        Raises:
            TfpruneError: A mean is not finite.
        """
        self._collect()
        means = {name: total / count for name, (total, count) in self._sums.items()}
        for name, value in means.items():
            if not math.isfinite(value):
                raise TfpruneError(
                    f"training diverged: the mean {name} of the epoch is {value} after {self.step} steps; expected a "
                    "finite number; lower the learning rate, or look for bad values in the data"
                )
        return means

    def close_epoch(self) -> None:
        """Counts an epoch and resets the sums."""
        self.epochs_done += 1
        self._sums.clear()
        self._pending.clear()

    def serialize(self) -> str:
        """Returns the state as JSON, from which Python reads the same floats bit for bit."""
        self._collect()
        return json.dumps(
            {
                "step": self.step,
                "epochs_done": self.epochs_done,
                "steps_per_epoch": self.steps_per_epoch,
                "sums": self._sums,
                "tables": self.tables,
            }
        )

    def deserialize(self, string_value: str | bytes) -> None:
        """Replaces the state by that of a checkpoint.

        Raises:
            TfpruneError: The checkpoint has another number of steps per epoch.
            RefusedError: It is damaged.
        """
        state = _stored(string_value)
        if state.steps_per_epoch != self.steps_per_epoch:
            raise TfpruneError(
                f"cannot resume: the checkpoint has {state.steps_per_epoch} steps per epoch, this run "
                f"{self.steps_per_epoch}; resume with the same data and batch size"
            )
        self.step, self.epochs_done = state.step, state.epochs_done
        self._sums = {name: list(pair) for name, pair in state.sums.items()}
        self.tables = None if state.tables is None else dict(state.tables)
        self._pending.clear()

    def _collect(self) -> None:
        """Adds pending (sum, count) pairs to the sums, in Python's double precision."""
        for metrics in self._pending:
            for name, (total, number) in metrics.items():
                pair = self._sums.setdefault(name, [0.0, 0.0])
                pair[0] += float(total)
                pair[1] += float(number)
        self._pending.clear()


class GracefulInterrupt:
    """Context in which the first SIGINT or SIGTERM sets `requested`, and the second raises `KeyboardInterrupt`.

    Outside the main thread, where Python allows no signal handlers, it does nothing.

    Attributes:
        requested: Whether an interrupt was requested.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, signal.Handlers] = {}

    def __enter__(self) -> "GracefulInterrupt":
        if threading.current_thread() is threading.main_thread():
            self._previous = {each: signal.signal(each, self._handle) for each in _SIGNALS}  # type: ignore[misc]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for each, previous in self._previous.items():
            signal.signal(each, previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print("\nstopping after this step (Ctrl-C again: at once)", flush=True)


class Fit:
    """Runs a training from its state to its end, for `Loop.fit`.

    Args:
        step: Trains on a batch and returns its metrics.
        model: The model; checkpoints contain its variables.
        optimizer: The optimizer; checkpoints contain its variables.
        steps_per_epoch: Steps of an epoch.
        epochs: Epochs of the whole training.
    """

    def __init__(
        self,
        step: Callable[[Batch], Metrics],
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        steps_per_epoch: int,
        epochs: int,
    ) -> None:
        self._step = step
        self._optimizer = optimizer
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._state = LoopState(steps_per_epoch)
        # By variable, not by object: a Keras model does not track the seeds of its dropout layers.
        self._objects = {
            "model": [variable.value for variable in model.variables],
            "optimizer": [variable.value for variable in optimizer.variables],
            "state": self._state,
        }
        self._checkpoints: Checkpoints | None = None
        self._saved_at = time.monotonic()
        self._rate = math.nan

    @property
    def state(self) -> LoopState:
        """Number of steps and epochs done."""
        return self._state

    def open(
        self, name: str, run: RunFolder | None, *, resume: bool, weights: Callable[[], WeightNumbers] | None = None
    ) -> None:
        """Restores the latest checkpoint, if there is one, and opens the tables.

        Args:
            name: Name of the training in the run folder.
            run: The run folder; None to write nothing.
            resume: Whether there may be checkpoints to continue from.
            weights: Returns the numbers of single weights after an epoch. Default: there are none.

        Raises:
            RunFolderError: There are checkpoints of this name and `resume` is off, or none of them can be read.
        """
        if run is not None:
            folder = run.checkpoints(name)
            self._checkpoints = Checkpoints(folder, self._objects)
            if self._checkpoints and not resume:
                raise RunFolderError(f"{folder} holds checkpoints of another training: resume it, or start a new run")
            self._checkpoints.restore()
        self._weights = weights
        state = self._state
        self._journal = Journal(run, name, last_step=state.step, weights=weights is not None, tables=state.tables)
        state.tables = self._journal.tables

    def configure_logging(
        self, description: str, *, postfix: Callable[[], str] | None, log_every: int, checkpoint_minutes: float
    ) -> None:
        """Sets what is shown, and how often rows and checkpoints are written; arguments as in `Loop.fit`."""
        self._description = description
        self._postfix = postfix
        self._log_every = log_every
        self._checkpoint_seconds = 60.0 * checkpoint_minutes

    def run(
        self,
        batches: Callable[[int], tf.data.Dataset],
        evaluate: Callable[[], dict[str, float]] | None = None,
        before_epoch: Callable[[int], None] | None = None,
    ) -> list[Row]:
        """Trains to the end; arguments as in `Loop.fit`.

        Returns:
            One row of metrics per epoch.

        Raises:
            KeyboardInterrupt: An interrupt was requested, and a checkpoint was saved.
            TfpruneError: A mean is not finite, or the data end early or cannot be read.
        """
        state = self._state
        data: Iterator[Batch] = iter(())
        if state.step < self._epochs * self._steps_per_epoch:
            data = iter(batches(state.step))
        with GracefulInterrupt() as interrupt, self._journal:
            while state.epochs_done < self._epochs:
                if before_epoch and state.step == state.epochs_done * self._steps_per_epoch:
                    before_epoch(state.epochs_done)
                self._run_epoch(data, interrupt)
                if state.step < (state.epochs_done + 1) * self._steps_per_epoch:
                    self._save()
                    raise KeyboardInterrupt
                self._finish_epoch(evaluate)
                if interrupt.requested:
                    raise KeyboardInterrupt
        return self._journal.epochs

    def _run_epoch(self, data: Iterator[Batch], interrupt: GracefulInterrupt) -> None:
        """Trains to the end of the epoch, or until an interrupt is requested."""
        state = self._state
        done = state.step - state.epochs_done * self._steps_per_epoch
        label = f"{self._description} {state.epochs_done + 1}/{self._epochs}"
        with tqdm(desc=label, total=self._steps_per_epoch, initial=done, disable=None, leave=False) as bar:
            for _ in range(done, self._steps_per_epoch):
                if interrupt.requested:
                    return
                batch = self._next(data)
                if self._row_follows():
                    # A variable on several devices cannot be converted to a float directly.
                    self._rate = float(tf.convert_to_tensor(self._optimizer.learning_rate))
                state.add(self._step(batch))
                if bar.update():
                    bar.set_postfix_str(self._progress(), refresh=False)
                self._log_and_save_in_between()

    def _log_and_save_in_between(self) -> None:
        """Writes the row of a step and a checkpoint within an epoch, if they are due."""
        state = self._state
        if self._log_every and state.step % self._log_every == 0:
            tqdm.write(f"{self._description} step {state.step}: {self._progress()}")
            self._journal.write_step({"step": state.step, "learning_rate": self._rate, **state.means()})
        inside = state.step % self._steps_per_epoch
        if self._checkpoints is not None and inside and time.monotonic() - self._saved_at > self._checkpoint_seconds:
            self._save()

    def _finish_epoch(self, evaluate: Callable[[], dict[str, float]] | None) -> None:
        """Evaluates, writes the row of the epoch, and after it the checkpoint."""
        state = self._state
        means = {f"train_{name}": value for name, value in state.means().items()}
        row: Row = {"epoch": state.epochs_done + 1, "step": state.step, "learning_rate": self._rate, **means}
        row.update(evaluate() if evaluate else {})
        self._journal.write_epoch(row)
        if self._weights is not None:
            self._journal.write_weights(state.epochs_done + 1, state.step, self._weights())
        state.close_epoch()
        self._save()
        numbers = {name: value for name, value in row.items() if name not in ("epoch", "step")}
        shown = ", ".join(
            f"{name} {value if isinstance(value, int) else format(value, '.4g')}" for name, value in numbers.items()
        )
        tqdm.write(f"{self._description} {state.epochs_done}/{self._epochs}: {shown}")

    def _next(self, data: Iterator[Batch]) -> Batch:
        """Returns the next batch; errors of the data become one line."""
        try:
            return next(data)
        except StopIteration:
            raise TfpruneError(
                f"the training data ended after {self._state.step} steps; expected "
                f"{self._epochs * self._steps_per_epoch} ({count(self._epochs, 'epoch')} of {self._steps_per_epoch})"
            ) from None
        except tf.errors.OpError as error:  # raised by operations of the data set
            raise TfpruneError(f"the training data cannot be read: {_reason(error)}") from error

    def _save(self) -> None:
        """Writes a checkpoint, unless the training has diverged."""
        self._state.means()
        if self._checkpoints is not None:
            self._checkpoints.save()
        self._saved_at = time.monotonic()

    def _progress(self) -> str:
        """Returns the text after the progress bar: means of the epoch and the text of the caller."""
        shown = [f"{name} {value:.4f}" for name, value in self._state.means().items()]
        return ", ".join([*shown, *([self._postfix()] if self._postfix else [])])

    def _row_follows(self) -> bool:
        """Returns whether a row follows the next step; it contains the learning rate of that step."""
        step = self._state.step + 1
        return step % self._steps_per_epoch == 0 or bool(self._log_every and step % self._log_every == 0)


def _reason(error: tf.errors.OpError) -> str:
    """Returns the message of an error of a data set, without the names of operations."""
    through = r"\{\{.*?\}\} |Error in user-defined function passed to .*? with iterator: \S+: |\n.*"
    return re.sub(through, "", error.message, flags=re.DOTALL)
