"""The networks that a run keeps as files: the first, the best, the last, and some between."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from tfprune.console import quiet
from tfprune.files import replaced_file, write_text
from tfprune.recipes.models.checkpoint import write_notes
from tfprune.recipes.training import Evaluation, RunFolder


class KeptNetworks:
    """Writes `first.keras`, `best.keras`, `last.keras` and `epoch_<n>.keras` into a run's folder.

    The files hold the networks as they are trained: weights, scores, masks, statistics; and notes of where they come
    from, see `tfprune.recipes.models.checkpoint`.

    Args:
        run: The folder.
        notes: What all the files say of themselves.
        every: Epochs between two files that are kept for good; 0 for none.
    """

    def __init__(self, run: RunFolder, notes: Mapping[str, Any], *, every: int) -> None:
        self._run = run
        self._notes = dict(notes)
        self._every = every

    def keep_first(self, network: keras.Model) -> None:
        """Keeps the untrained network."""
        if not (path := self._run.file("first.keras")).exists():
            save_network(network, path, {**self._notes, "epoch": 0})

    def keep(self, network: keras.Model, epoch: int, tested: Evaluation, *, eligible: bool) -> None:
        """Keeps the network of an epoch, as the best one if none before was as accurate.

        Args:
            network: Its masks are up to date.
            epoch: Epochs it was trained for.
            tested: How good it is.
            eligible: Whether it may be the best one: a denser network than asked for must not.
        """
        numbers = {"epoch": epoch, "test_accuracy": tested.top1, "test_top5": tested.top5}
        notes = {**self._notes, **numbers}
        save_network(network, self._run.file("last.keras"), notes)
        if self._every and epoch % self._every == 0:
            save_network(network, self._run.file(f"epoch_{epoch}.keras"), notes)
        best = self.best
        # An epoch that is repeated after a crash is as good as it was before, and its file the same.
        if eligible and (best is None or tested.top1 > best["test_accuracy"]):
            save_network(network, self._run.file("best.keras"), notes)
            write_text(self._run.file("best.json"), json.dumps(numbers) + "\n")

    @property
    def best(self) -> dict[str, float] | None:
        """Epoch and accuracies of the best network so far."""
        record = self._run.path / "best.json"
        return json.loads(record.read_text(encoding="utf-8")) if record.exists() else None


def save_network(network: keras.Model, path: Path, notes: Mapping[str, Any]) -> None:
    """Writes a network with its own layers, all or nothing, and notes of it."""
    with replaced_file(path) as partial, quiet():
        network.save(partial)
        write_notes(partial, notes)
