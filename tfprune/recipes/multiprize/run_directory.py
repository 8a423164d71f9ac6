"""The folder of a run of multi-prize tickets, and the table that it shares with all runs beside it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfprune.files import ResultsTable, folder_lock
from tfprune.recipes.method import open_run
from tfprune.recipes.multiprize.config import MultiPrizeConfig
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


def open_run_directory(config: MultiPrizeConfig, workers: Workers) -> RunFolder:
    """Creates the folder of a run, or opens the one to resume.

    Without `train_path` the folder has a default name; if it holds a run, the next one gets a numbered folder in it,
    and `resume` and `overwrite` mean the latest.

    Args:
        config: The settings.
        workers: The chief among them chooses the folder.

    Raises:
        RunFolderError: The folder cannot be used.
    """
    if config.train_path is not None:
        return open_run(config, config.train_path, workers)
    first = Path(config.default_path)
    number = _reserved_number(first, latest=config.resume or config.overwrite) if workers.is_chief else 0
    number = int(workers.total(np.array([number], np.int32))[0])
    return open_run(config, _numbered(first, number), workers)


def _reserved_number(first: Path, *, latest: bool) -> int:
    """Creates the next folder for runs of a name, or the latest; returns its number."""
    with folder_lock(first.parent):  # or two processes would take the same one
        number = 0
        while _numbered(first, number).is_dir():
            number += 1
        number = max(number - 1, 0) if latest else number
        _numbered(first, number).mkdir(exist_ok=True)
    return number


def results_table(config: MultiPrizeConfig) -> ResultsTable:
    """Returns the table that the runs of one `log_dir` share; with `train_path` the one beside that folder."""
    folder = Path(config.log_dir) if config.train_path is None else Path(config.train_path).parent
    return ResultsTable(folder / "results.csv", COLUMNS, key=("finished", "folder"))


def table_row(config: MultiPrizeConfig, run: RunFolder, numbers: Mapping[str, object]) -> dict[str, object]:
    """Returns the row of a run in that table."""
    given = {
        "folder": str(run.path),
        "density": config.kept,
        "scope": "dense" if config.dense else config.scope,
    }
    return {name: given.get(name, numbers.get(name, getattr(config, name, None))) for name in COLUMNS}


def _numbered(first: Path, number: int) -> Path:
    """Returns the folder of a run by number: first that of the name itself, then those in it."""
    return first / str(number - 1) if number else first
