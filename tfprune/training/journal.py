"""The tables and TensorBoard events of one training."""

from types import TracebackType

import tensorflow as tf

from tfprune.files import writing
from tfprune.training.metrics_log import MetricsLog, Row
from tfprune.training.run_folder import RunFolder


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
