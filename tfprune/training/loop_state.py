"""Where a training stands."""

import json
import math
from collections.abc import Mapping

import tensorflow as tf

from tfprune.errors import TfpruneError
from tfprune.training.objective import Metrics


class LoopState(tf.train.experimental.PythonState):
    """Steps and epochs done, and the running sums of the epoch: what a checkpoint holds besides the variables.

    Metrics are collected as tensors and read in bulk, so that a step does not wait for the device.

    Args:
        steps_per_epoch: Optimizer steps of an epoch; a checkpoint of another number is refused.
    """

    def __init__(self, steps_per_epoch: int) -> None:
        self.step = 0
        self.epochs_done = 0
        self.steps_per_epoch = steps_per_epoch
        self._sums: dict[str, list[float]] = {}
        self._pending: list[Metrics] = []

    def add(self, metrics: Metrics) -> None:
        """Counts a step."""
        self.step += 1
        self._pending.append(metrics)
        if len(self._pending) >= 64:
            self._collect()

    def means(self) -> dict[str, float]:
        """Means over the epoch so far.

        Raises:
            TfpruneError: If one is not a finite number.
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
        """Starts the sums of the next epoch."""
        self.epochs_done += 1
        self._sums.clear()
        self._pending.clear()

    def serialize(self) -> str:
        """The state as JSON; Python writes floats so that they read back bit for bit."""
        self._collect()
        return json.dumps(
            {
                "step": self.step,
                "epochs_done": self.epochs_done,
                "steps_per_epoch": self.steps_per_epoch,
                "sums": self._sums,
            }
        )

    def deserialize(self, string_value: str | bytes) -> None:
        """Takes the state of a checkpoint."""
        state = json.loads(string_value)
        if state["steps_per_epoch"] != self.steps_per_epoch:
            raise TfpruneError(
                f"cannot resume: the checkpoint has {state['steps_per_epoch']} steps per epoch, this run "
                f"{self.steps_per_epoch}; resume with the same data and batch size"
            )
        self.step, self.epochs_done = state["step"], state["epochs_done"]
        self._sums = {name: list(pair) for name, pair in state["sums"].items()}
        self._pending.clear()

    def _collect(self) -> None:
        for metrics in self._pending:
            add_metrics(self._sums, metrics)
        self._pending.clear()


def add_metrics(sums: dict[str, list[float]], metrics: Mapping[str, tuple[tf.Tensor, tf.Tensor]]) -> None:
    """Adds (sum, count) pairs to running sums, in Python's double precision."""
    for name, (total, count) in metrics.items():
        pair = sums.setdefault(name, [0.0, 0.0])
        pair[0] += float(total)
        pair[1] += float(count)
