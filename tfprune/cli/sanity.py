"""What `tfprune sanity` does."""

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

from tfprune.cli.sanity_config import OF_DATA, TRAINED, SanityConfig
from tfprune.criteria import LayerCollapseWarning, weight_criterion
from tfprune.files import write_text
from tfprune.recipes.data import ImageData, data_fraction, load_data
from tfprune.recipes.models import build_model
from tfprune.recipes.sanity_table import ORIGINAL, SanityCell, plot_sanity, sanity_cells, sanity_table
from tfprune.recipes.tickets import DenseConfig, TicketConfig
from tfprune.recipes.tickets.method import run as train
from tfprune.recipes.training import RunFolder
from tfprune.report import report_console

_OF_TICKETS = {
    "rearranged": "rearrange",
    "shuffled": "shuffle_weights",
    "inverse": "inverse",
    "reinitialized": "reinitialize",
}
_OF_IMAGES: dict[str, dict[str, Any]] = {
    "half_data": {"fraction": 0.5},
    "corrupted": {"random_labels": True, "shuffle_pixels": True},
}
Cells = dict[str, dict[str, SanityCell]]


def run(config: SanityConfig, console: Console | None = None) -> Cells:
    """Trains all variants of all tickets that are not there yet, prints the table, writes it and its plot.

    Args:
        config: The settings.
        console: Where to print. Default: standard output.

    Returns:
        The statistics by method and check.

    Raises:
        TfpruneError: Something the user can mend.
        KeyboardInterrupt: After Ctrl-C, when everything done so far was kept.

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), sections 3 and 6.
    """
    console = console or report_console()
    data = load_data(config.dataset, config.data_path)
    if config.fraction < 1:
        data = data_fraction(data, config.fraction)
    data.steps_per_epoch(config.batch_size)
    _check_density(config, data)
    folder = RunFolder.create(
        config.folder, config.settings(), resume=config.resume, overwrite=config.overwrite, seed=0
    )
    checks = _Checks(config, data, folder.folder("runs"))
    accuracies: dict[str, dict[str, list[float]]] = {}
    # Seed after seed, so that what a stopped run leaves is whole rows of the table.
    for seed in range(config.seeds):
        for method in config.methods:
            for check in (ORIGINAL, *config.checks):
                if check == ORIGINAL or config.applies(method, check):
                    accuracy = checks.accuracy(method, check, seed)
                    accuracies.setdefault(method, {}).setdefault(check, []).append(accuracy)
    cells = sanity_cells(accuracies)
    console.print(sanity_table(cells))
    console.print(Text(_legend(config, data), style="dim"))
    _write(folder, accuracies, cells)
    plot_sanity(cells, folder.file("sanity.png"))
    console.print(Text(f"results in {folder.path}"))
    return cells


def _check_density(config: SanityConfig, data: ImageData) -> None:
    """Finds out before hours of training whether lottery tickets can be so sparse."""
    if not {"lottery", "partially_trained"}.intersection(config.methods):
        return
    untrained = build_model(config.arch, num_classes=data.num_classes, input_shape=data.input_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerCollapseWarning)  # it says nothing of trained weights
        weight_criterion("lottery")(untrained, config.density)


class _Checks:
    """Trains single runs, each in a folder of its own, or reads what was trained before."""

    def __init__(self, config: SanityConfig, data: ImageData, folder: Path) -> None:
        self._config, self._data, self._folder = config, data, folder

    def accuracy(self, method: str, check: str, seed: int) -> float:
        """Accuracy on the test images."""
        settings: dict[str, Any] = {
            "density": self._config.density,
            "samples_per_class": self._config.samples_per_class,
        }
        settings["prune_iters"] = self._config.prune_iters
        if check in _OF_TICKETS:
            settings[_OF_TICKETS[check]] = True
        path = self._folder / f"{method}_{check}_seed{seed}"
        if (path / "results.json").exists():
            return _accuracy(path)
        if method in TRAINED:
            settings |= self._trained(method, check if check in OF_DATA else ORIGINAL, check, seed)
        else:
            settings |= {"ticket": method} | _OF_IMAGES.get(check, {})
        self._train(TicketConfig(**self._recipe(path, seed), **settings))
        return _accuracy(path)

    def _trained(self, method: str, data_check: str, check: str, seed: int) -> dict[str, Any]:
        """Settings of a ticket that comes from dense training."""
        dense = self._folder / f"dense_{data_check}_seed{seed}"
        if not (dense / "results.json").exists():
            self._train(DenseConfig(**self._recipe(dense, seed), **_OF_IMAGES.get(data_check, {})))
        if method == "hybrid":
            return {"ticket": "hybrid", "init": str(dense / "trained.keras")}
        if method == "partially_trained" or check == "inverse":
            return {"ticket": "lottery", "init": str(dense / "trained.keras")}
        return {
            "ticket": str(self._lottery_masks(dense, seed)),
            "init": str(dense / "initial.keras"),
        }

    def _lottery_masks(self, dense: Path, seed: int) -> Path:
        """Masks by magnitude of a trained network, in a file beside it."""
        file = dense / "lottery.npz"
        if not file.exists():
            trained = keras.saving.load_model(dense / "trained.keras", compile=False)
            weight_criterion("lottery")(trained, self._config.density).save(file)
        return file

    def _recipe(self, path: Path, seed: int) -> dict[str, Any]:
        config = self._config
        names = (
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
        return {name: getattr(config, name) for name in names} | {
            "milestones": config.drops,
            "train_path": str(path),
            "seed": seed,
            "resume": True,
            "export": False,
            "test_each_epoch": False,
        }

    def _train(self, config: DenseConfig) -> None:
        train(config, self._data)
        shutil.rmtree(Path(str(config.train_path)) / "checkpoints", ignore_errors=True)  # it will not be gone on with
        _release_memory()


def _release_memory() -> None:
    """Lets go of the models and functions of a run, which refer to each other."""
    keras.backend.clear_session()
    gc.collect()


def _accuracy(path: Path) -> float:
    return float(json.loads((path / "results.json").read_text(encoding="utf-8"))["accuracy"])


def _legend(config: SanityConfig, data: ImageData) -> str:
    tested = (
        "a star marks a difference to the original by Welch's t-test at 5 %, adjusted after Holm"
        if config.seeds > 1
        else "one seed: no test, add --seeds 3"
    )
    return (
        f"accuracy on {data.test_examples} test images in %, mean ± standard deviation over {config.seeds} seed"
        f"{'s' if config.seeds > 1 else ''}; {config.arch}, density {config.density:g}, {config.epochs} epochs of "
        f"{data.train_examples} images; {tested}"
    )


def _write(folder: RunFolder, accuracies: dict[str, dict[str, list[float]]], cells: Cells) -> None:
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
