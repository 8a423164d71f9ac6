"""Where a run of multi-prize tickets lies, and the table that all runs beside it share."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfprune.files import ResultsTable, folder_lock
from tfprune.recipes.multiprize.config import MultiPrizeConfig
from tfprune.recipes.open_run import open_run
from tfprune.recipes.training import RunFolder, Workers

COLUMNS = (
    "finished",
    "folder",
    "experiment",
    "name",
    "dataset",
    "arch",
    "density",
    "scope",
    "seed",
    "epochs",
    "learning_rate",
    "weight_decay",
    "learn_batchnorm",
    "bias_only",
    "tune_batchnorm",
    "accuracy",
    "top5",
    "best_accuracy",
    "best_top5",
    "best_epoch",
    "best_train_accuracy",
    "kept",
)


def open_place(config: MultiPrizeConfig, workers: Workers) -> RunFolder:
    """Makes the folder of a run, or opens the one to be continued.

    Without `train_path` the folder has a default name; where there are runs already, the next one lies in the first
    of them, by number, and `resume` and `overwrite` mean the latest.

    Args:
        config: The settings.
        workers: Of these the chief decides.

    Raises:
        RunFolderError: The folder cannot be used.
    """
    if config.train_path is not None:
        return open_run(config, config.train_path, workers)
    first = Path(config.default_path)
    place = _taken_place(first, latest=config.resume or config.overwrite) if workers.is_chief else 0
    place = int(workers.total(np.array([place], np.int32))[0])
    return open_run(config, _place(first, place), workers)


def _taken_place(first: Path, *, latest: bool) -> int:
    """Which of the places for runs of a name is to be used; its folder is there then."""
    with folder_lock(first.parent):  # or two processes would take the same one
        place = 0
        while _place(first, place).is_dir():
            place += 1
        place = max(place - 1, 0) if latest else place
        _place(first, place).mkdir(exist_ok=True)
    return place


def results_table(config: MultiPrizeConfig) -> ResultsTable:
    """The table that the runs of one `log_dir` share; that beside the run's folder where this is named."""
    folder = Path(config.log_dir) if config.train_path is None else Path(config.train_path).parent
    return ResultsTable(folder / "results.csv", COLUMNS, key=("finished", "folder"))


def table_row(config: MultiPrizeConfig, run: RunFolder, numbers: Mapping[str, object]) -> dict[str, object]:
    """The run's row in that table."""
    given = {
        "folder": str(run.path),
        "density": config.kept,
        "scope": "dense" if config.dense else config.scope,
    }
    return {name: given.get(name, numbers.get(name, getattr(config, name, None))) for name in COLUMNS}


def _place(first: Path, number: int) -> Path:
    """The folder of a run: that of the name itself, and then those in it."""
    return first / str(number - 1) if number else first
