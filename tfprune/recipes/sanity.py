"""Sanity checks of tickets: does it matter which weights are kept, where in a layer, and on which data they were found?

`run`, which is `tfprune sanity`, trains the original tickets of several methods and variants of them (rearranged,
shuffled, found on half or corrupted data ...) over several seeds, and tests whether the accuracies differ. Each
training has its own folder, and a stopped run continues with the ones that are missing.

Reference:
    Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), sections 3 and 6.
"""

import csv
import gc
import io
import json
import shutil
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.text import Text

from tfprune.criteria import LayerCollapseWarning, weight_criterion
from tfprune.errors import RunFolderError
from tfprune.files import write_text
from tfprune.model_file import load_model
from tfprune.reading import RefusedError, read_json, reading
from tfprune.recipes.data import ImageData, data_fraction, load_data
from tfprune.recipes.models import build_model
from tfprune.recipes.sanity_config import OF_DATA, TRAINED, SanityConfig
from tfprune.recipes.sanity_table import ORIGINAL, SanityCell, plot_sanity, sanity_cells, sanity_table
from tfprune.recipes.tickets import DenseConfig, TicketConfig
from tfprune.recipes.tickets.method import run as train
from tfprune.recipes.training import RunFolder
from tfprune.report import report_console
from tfprune.tables import count, paragraph

_TICKET_SETTINGS = {
    "rearranged": "rearrange",
    "shuffled": "shuffle_weights",
    "inverse": "inverse",
    "reinitialized": "reinitialize",
}
"""The setting of `TicketConfig` that makes each check."""

_DATA_SETTINGS: dict[str, dict[str, Any]] = {
    "half_data": {"fraction": 0.5},
    "corrupted": {"random_labels": True, "shuffle_pixels": True},
}
"""The settings of a training on the data of each check."""

_SHARED_SETTINGS = (
    "arch",
    "dataset",
    "data_path",
    "epochs",
    "learning_rate",
    "momentum",
    "weight_decay",
    "batch_size",
    "precision",
    "compile",
    "gpu_id",
)

Cells = dict[str, dict[str, SanityCell]]


def run(config: SanityConfig, console: Console | None = None) -> Cells:
    """Trains all variants of all tickets that are missing, prints the table, and writes it and its plot.

    Args:
        config: The settings.
        console: Where to print. Default: standard output.

    Returns:
        The statistics by method and check.

    Raises:
        TfpruneError: An error the user can fix.
        KeyboardInterrupt: After Ctrl-C; finished trainings are kept.
    """
    console = console or report_console()
    data = load_data(config.dataset, config.data_path)
    if config.fraction < 1:
        data = data_fraction(data, config.fraction)
    data.steps_per_epoch(config.batch_size)
    _check_density(config, data)
    with RunFolder.create(
        config.folder, config.settings(), resume=config.resume, overwrite=config.overwrite, seed=0
    ) as folder:
        trainings = _Trainings(config, data, folder.folder("runs"))
        accuracies: dict[str, dict[str, list[float]]] = {}
        # One seed after the other, so that a stopped run has complete rows of the table.
        for seed in range(config.seeds):
            for method in config.methods:
                for check in (ORIGINAL, *config.checks):
                    if check == ORIGINAL or config.applies(method, check):
                        accuracy = trainings.accuracy(method, check, seed)
                        accuracies.setdefault(method, {}).setdefault(check, []).append(accuracy)
        cells = sanity_cells(accuracies)
        console.print(Text(sanity_table(cells, width=console.width) + "\n"))
        console.print(Text(paragraph(_legend(config, data), width=console.width), style="dim"))
        _write(folder, accuracies, cells)
        plot_sanity(cells, folder.file("sanity.png"))
        console.print(Text(f"results in {folder.path}"))
    return cells


def _check_density(config: SanityConfig, data: ImageData) -> None:
    """Raises `ConfigError`, before hours of training, if lottery tickets cannot have this density."""
    if not {"lottery", "partially_trained"}.intersection(config.methods):
        return
    untrained = build_model(config.arch, num_classes=data.num_classes, input_shape=data.input_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerCollapseWarning)  # not meaningful for untrained weights
        weight_criterion("lottery")(untrained, config.density)


class _Trainings:
    """Trains single tickets, each in its own folder, or reads the result of an earlier training."""

    def __init__(self, config: SanityConfig, data: ImageData, folder: Path) -> None:
        self._config, self._data, self._folder = config, data, folder

    def accuracy(self, method: str, check: str, seed: int) -> float:
        """Returns the accuracy of a ticket on the test images."""
        settings: dict[str, Any] = {
            "density": self._config.density,
            "samples_per_class": self._config.samples_per_class,
            "prune_iters": self._config.prune_iters,
        }
        if check in _TICKET_SETTINGS:
            settings[_TICKET_SETTINGS[check]] = True
        path = self._folder / f"{method}_{check}_seed{seed}"
        if (known := _accuracy(path)) is not None:
            return known
        if method in TRAINED:
            settings |= self._from_dense_training(method, check, seed)
        else:
            settings |= {"ticket": method} | _DATA_SETTINGS.get(check, {})
        self._train(TicketConfig(**self._shared_settings(path, seed), **settings))
        accuracy = _accuracy(path)
        assert accuracy is not None, "the training has written it"
        return accuracy

    def _from_dense_training(self, method: str, check: str, seed: int) -> dict[str, Any]:
        """Returns the settings of a ticket that comes from dense training, which is done first if it is missing."""
        data_check = check if check in OF_DATA else ORIGINAL
        dense = self._folder / f"dense_{data_check}_seed{seed}"
        if _accuracy(dense) is None:
            self._train(DenseConfig(**self._shared_settings(dense, seed), **_DATA_SETTINGS.get(data_check, {})))
        if method == "hybrid":
            return {"ticket": "hybrid", "init": str(dense / "trained.keras")}
        if method == "partially_trained" or check == "inverse":
            return {"ticket": "lottery", "init": str(dense / "trained.keras")}
        return {
            "ticket": str(self._lottery_masks(dense, seed)),
            "init": str(dense / "initial.keras"),
        }

    def _lottery_masks(self, dense: Path, seed: int) -> Path:
        """Returns a file with masks by magnitude of a trained model, which is written if it is missing."""
        file = dense / "lottery.npz"
        if not file.exists():
            trained = load_model(dense / "trained.keras")
            weight_criterion("lottery")(trained, self._config.density).save(file)
        return file

    def _shared_settings(self, path: Path, seed: int) -> dict[str, Any]:
        """Returns the settings that all trainings have in common."""
        return {name: getattr(self._config, name) for name in _SHARED_SETTINGS} | {
            "milestones": self._config.drops,
            "train_path": str(path),
            "seed": seed,
            "resume": True,
            "export": False,
            "test_each_epoch": False,
        }

    def _train(self, config: DenseConfig) -> None:
        """Trains, and removes the checkpoints, which are not needed any more."""
        train(config, self._data)
        shutil.rmtree(Path(str(config.train_path)) / "checkpoints", ignore_errors=True)
        _release_memory()


def _release_memory() -> None:
    """Frees the models and functions of a training, which refer to each other."""
    keras.backend.clear_session()
    gc.collect()


def _accuracy(path: Path) -> float | None:
    """Returns the accuracy of a training that is done; None if it is not, or if its result is damaged."""
    file = path / "results.json"
    if not file.exists():
        return None
    try:
        with reading(file, "the result of a training", error=RunFolderError, advice="it is trained again"):
            accuracy = read_json(file, finite=False)["accuracy"]
            if not isinstance(accuracy, float):
                raise RefusedError("it holds no accuracy")
            return accuracy
    except RunFolderError as error:
        print(error)
        return None


def _legend(config: SanityConfig, data: ImageData) -> str:
    """Returns the line below the table."""
    tested = (
        "a star marks a difference to the original by Welch's t-test at 5 %, adjusted after Holm"
        if config.seeds > 1
        else "one seed: no test, add --seeds 3"
    )
    return (
        f"accuracy on {count(data.test_examples, 'test image')} in %, mean ± standard deviation over "
        f"{count(config.seeds, 'seed')}; {config.arch}, density {config.density:g}, {count(config.epochs, 'epoch')} of "
        f"{count(data.train_examples, 'image')}; {tested}"
    )


def _write(folder: RunFolder, accuracies: dict[str, dict[str, list[float]]], cells: Cells) -> None:
    """Writes `sanity.json` and `sanity.csv`."""
    numbers = {
        method: {check: {"accuracies": accuracies[method][check], **asdict(cell)} for check, cell in checks.items()}
        for method, checks in cells.items()
    }
    write_text(folder.file("sanity.json"), json.dumps(numbers, indent=1) + "\n")
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["method", "check", "runs", "mean", "deviation", "p_value"])
    for method, checks in cells.items():
        for check, cell in checks.items():
            writer.writerow([method, check, len(accuracies[method][check]), cell.mean, cell.deviation, cell.p_value])
    write_text(folder.file("sanity.csv"), table.getvalue())
