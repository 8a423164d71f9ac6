"""A student after training."""

from dataclasses import dataclass

import numpy as np

from tfprune.dpp import Committee, OrderParameters
from tfprune.errors import ConfigError
from tfprune.recipes.dpp.arrays_file import load_arrays, save_arrays
from tfprune.recipes.dpp.teacher_task import TeacherTask


@dataclass(frozen=True, eq=False)
class TrainedStudent:
    """A student and what it was trained on.

    Attributes:
        network: The student, as trained.
        moments: Second moments of the training inputs, `[inputs, inputs]`: all that kernels and reweighting need.
        losses: Mean of half the squared error over each block of training examples.
        teacher: Digest of its teacher.
        lr: Learning rate.
        seed: Of its initial weights.
    """

    network: Committee
    moments: np.ndarray
    losses: np.ndarray
    teacher: str
    lr: float
    seed: int

    def check_teacher(self, task: TeacherTask) -> None:
        """`ConfigError` if it was trained with another teacher."""
        OrderParameters.of(self.network, task.network)
        if task.digest != self.teacher:
            raise ConfigError(
                "expected the teacher that the student was trained with, received another; check the paths"
            )

    def save(self, path: str) -> None:
        """Writes it to an .npz file."""
        arrays = {
            "weights": self.network.weights,
            "outgoing": self.network.outgoing,
            "nonlinearity": self.network.nonlinearity,
            "moments": self.moments,
            "losses": self.losses,
            "teacher": self.teacher,
            "lr": self.lr,
            "seed": self.seed,
        }
        save_arrays(path, "student", arrays)

    @classmethod
    def load(cls, path: str) -> "TrainedStudent":
        """Reads it from an .npz file; `CheckpointError` if it holds none."""
        arrays = load_arrays(path, "student")
        return cls(
            Committee(arrays["weights"], arrays["outgoing"], str(arrays["nonlinearity"])),
            arrays["moments"],
            arrays["losses"],
            str(arrays["teacher"]),
            float(arrays["lr"]),
            int(arrays["seed"]),
        )
