"""Files of models that a run writes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from tfprune.console import quiet
from tfprune.files import replaced_file
from tfprune.recipes.data import ImageData, ImageDataset, StreamedData
from tfprune.recipes.models.checkpoint import TRAINED_MODEL, write_notes
from tfprune.recipes.multiprize.config import MultiPrizeConfig
from tfprune.recipes.training import Evaluation, RunFolder


class CheckpointWriter:
    """Writes `initial.keras`, `trained.keras` and `epoch_<n>.keras` into a run folder.

    The files contain the models as they are trained: weights, scores, masks, statistics; and notes on what they are,
    see `tfprune.recipes.models.checkpoint`.

    Args:
        run: The folder.
        notes: Notes for all files.
        every: Epochs between two files that are not replaced later; 0 for none.
    """

    def __init__(self, run: RunFolder, notes: Mapping[str, Any], *, every: int) -> None:
        self._run = run
        self._notes = dict(notes)
        self._every = every

    def write_first(self, model: keras.Model) -> None:
        """Writes the untrained model, unless it is there."""
        if not (path := self._run.file("initial.keras")).exists():
            self.write(model, path, {"epoch": 0})

    def write_epoch(self, model: keras.Model, epoch: int, tested: Evaluation) -> dict[str, Any]:
        """Writes the model of an epoch and returns the numbers in its notes.

        Args:
            model: Its masks are up to date.
            epoch: Epochs it was trained for.
            tested: Its evaluation.
        """
        numbers = {"epoch": epoch, "test_accuracy": tested.top1, "test_top5": tested.top5}
        self.write(model, self._run.file(TRAINED_MODEL), numbers)
        if self._every and epoch % self._every == 0:
            self.write(model, self._run.file(f"epoch_{epoch}.keras"), numbers)
        return numbers

    def write(self, model: keras.Model, path: Path, numbers: Mapping[str, Any]) -> None:
        """Writes a model with its own layers, all or nothing, and the notes with `numbers`."""
        with replaced_file(path) as partial, quiet():
            model.save(partial)
            write_notes(partial, {**self._notes, **numbers})


def model_notes(config: MultiPrizeConfig, data: ImageDataset) -> dict[str, Any]:
    """Returns the notes in a `.keras` file of a run: enough to evaluate the model, here or elsewhere."""
    return {
        "method": config.method,
        "arch": config.arch,
        "dataset": data.name,
        "num_classes": data.num_classes,
        "input_shape": list(data.input_shape),
        **_normalization(data),
        "width_multiplier": config.width_multiplier,
        "binary_activations": config.binary_activations,
        "density": config.kept,
        "scope": "dense" if config.dense else config.scope,
        "seed": config.seed,
    }


def _normalization(data: ImageDataset) -> dict[str, list[float]]:
    """Returns the mean and the standard deviation of pixels of 0 .. 255."""
    if isinstance(data, StreamedData):  # its pixels are 0 .. 1
        return {name: [255 * value for value in values] for name, values in (("mean", data.mean), ("std", data.std))}
    return {"mean": list(data.mean), "std": list(data.std)} if isinstance(data, ImageData) else {}
