"""The folder that settings name."""

from pathlib import Path

import numpy as np

from tfprune.errors import RunFolderError
from tfprune.recipes.run_config import RunConfig
from tfprune.recipes.training import RunFolder, Workers
from tfprune.recipes.training.run_folder import WorkerFolder


def open_run(config: RunConfig, path: str | Path, workers: Workers) -> RunFolder:
    """Makes the run's folder, or opens it; see `RunFolder.create`.

    Args:
        config: The settings.
        path: The folder.
        workers: Of these the chief makes it, and the others get a view of it.

    Raises:
        RunFolderError: It cannot be made, holds something else, or is not seen by all workers.
        WorkerError: Another worker is gone.
    """
    if workers.is_chief:
        folder = RunFolder.create(
            path, config.settings(), resume=config.resume, overwrite=config.overwrite, seed=config.seed
        )
    workers.wait()
    seen = (Path(path) / "settings.yaml").exists()
    if workers.total(np.array([not seen], np.int32))[0]:
        raise RunFolderError(
            f"{path}: expected a folder that all workers see, received one that some do not; put --train_path on a "
            "file system that they share"
        )
    return folder if workers.is_chief else WorkerFolder(Path(path))
