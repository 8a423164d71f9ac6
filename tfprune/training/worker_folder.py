"""The run's folder as workers other than the chief see it."""

import shutil
import tempfile
import weakref
from pathlib import Path

from tfprune.errors import RunFolderError
from tfprune.training.run_folder import RunFolder

_OF_ONE_PROCESS = ("metrics", "events", "checkpoints")


class WorkerFolder(RunFolder):
    """Shows what the chief has finished; takes what this worker writes, which is removed when the process ends.

    So all workers run the same stages, find those done that the chief has done, and leave nothing behind.

    Args:
        chief: The chief's folder, on a file system that the workers share.
    """

    def __init__(self, chief: Path) -> None:
        path = Path(tempfile.mkdtemp(prefix="worker-"))
        super().__init__(path, resumed=False, entries=[])
        self._removal = weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        self._chief = chief.resolve()

    def file(self, name: str) -> Path:
        """Path of a top-level file or folder: a link to the chief's, if there is one and none of this worker.

        Whoever writes a file replaces it, and so the link.
        """
        if Path(name).name != name:
            raise RunFolderError(f"expected a plain file name, received {name!r}")
        path = self.path / name
        if name not in _OF_ONE_PROCESS and not path.exists() and (self._chief / name).exists():
            path.symlink_to(self._chief / name)
        return path
