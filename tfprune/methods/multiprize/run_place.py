"""Where a run of multi-prize tickets lies, and the table that all runs beside it share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfprune.files import ResultsTable, folder_lock
from tfprune.methods.multiprize.config import MultiPrizeConfig
from tfprune.training import RunFolder

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


def open_run(config: MultiPrizeConfig) -> RunFolder:
    """Makes the folder of a run, or opens the one to be continued.

    Without `train_path` the folder has a default name; where there are runs already, the next one lies in the first
    of them, by number, and `resume` and `overwrite` mean the latest.

    Raises:
        RunFolderError: The folder cannot be used.
    """
    flags: dict[str, Any] = {"resume": config.resume, "overwrite": config.overwrite, "seed": config.seed}
    if config.train_path is not None:
        return RunFolder.create(config.train_path, config.settings(), **flags)
    first = Path(config.default_path)
    with folder_lock(first.parent):  # or two processes would take the same number
        number = 0
        there = [first]
        while (first / str(number)).is_dir():
            there.append(first / str(number))
            number += 1
        new = first / str(number) if _holds_run(first) else first
        path = there[-1] if config.resume or config.overwrite else new
        return RunFolder.create(path, config.settings(), **flags)


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


def _holds_run(path: Path) -> bool:
    return (path / "settings.yaml").exists()
