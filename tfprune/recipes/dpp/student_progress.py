"""How far the training of a student has come, on disk."""

import hashlib
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from tfprune.dpp import Committee
from tfprune.errors import RunFolderError
from tfprune.recipes.dpp.arrays_file import load_arrays, save_arrays
from tfprune.recipes.dpp.teacher_task import TeacherTask

_KIND = "half-trained student"


@dataclass
class StudentState:
    """All that the rest of a training depends on.

    Attributes:
        weights: W, float32 `[hidden, inputs]`.
        outgoing: v, float32 `[hidden]`.
        moments: Sum of x x' over the training inputs seen in the first epoch, `[inputs, inputs]`.
        losses: Mean of half the squared error over each block of examples so far.
    """

    weights: np.ndarray
    outgoing: np.ndarray
    moments: np.ndarray
    losses: np.ndarray

    @classmethod
    def start(cls, initial: Committee) -> "StudentState":
        """Before the first example."""
        weights, outgoing = initial.weights.astype(np.float32), initial.outgoing.astype(np.float32)
        return cls(weights, outgoing, np.zeros((initial.inputs, initial.inputs)), np.zeros(0))


class StudentProgress:
    """A file with the state of a training, replaced in one step whenever it is saved.

    Args:
        path: The file, which need not exist.
        fingerprint: What tells this training from others, see `fingerprint_of`.
    """

    def __init__(self, path: str | Path, fingerprint: str) -> None:
        self._path = Path(path)
        self._fingerprint = fingerprint

    def load(self) -> StudentState | None:
        """The state that was saved last, if any.

        Raises:
            RunFolderError: It is that of another training.
            CheckpointError: It cannot be read.
        """
        if not self._path.exists():
            return None
        arrays = load_arrays(self._path, _KIND)
        if str(arrays["fingerprint"]) != self._fingerprint:
            raise RunFolderError(
                f"{self._path} holds half a training with other settings or another teacher; take those to go on with "
                "it, remove it to start anew, or name another --out"
            )
        return StudentState(*(arrays[name] for name in StudentState.__annotations__))

    def save(self, state: StudentState) -> None:
        """Replaces what was saved before."""
        arrays = dict(zip(StudentState.__annotations__, astuple(state), strict=True))
        save_arrays(self._path, _KIND, arrays | {"fingerprint": self._fingerprint})

    def remove(self) -> None:
        """Removes the file, once the student is written."""
        self._path.unlink(missing_ok=True)


def progress_path(out: str | Path) -> Path:
    """Where the progress of a training is kept that will be written to `out`."""
    return Path(out).with_suffix(".progress.npz")


def fingerprint_of(task: TeacherTask, initial: Committee, lr: float, epochs: int) -> str:
    """Differs for trainings that differ in anything: data, student, learning rate or length."""
    settings = (task.noise, task.num_data, task.mode, task.seed, task.network.nonlinearity, initial.nonlinearity)
    digest = hashlib.sha256(repr((*settings, initial.weights.shape, float(lr), epochs)).encode())
    for array in (task.network.weights, task.network.outgoing, initial.weights, initial.outgoing):
        digest.update(np.ascontiguousarray(array, np.float64).tobytes())
    return digest.hexdigest()[:32]
