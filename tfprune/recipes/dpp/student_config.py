"""The settings of `tfprune dpp student`."""

from dataclasses import dataclass
from typing import Literal

from tfprune.errors import ConfigError
from tfprune.recipes.dpp.output import check_at_least, check_input, check_output


@dataclass(frozen=True)
class StudentConfig:
    """Trains a student on a teacher's examples, one after the other; the same command goes on after a stop.

    Attributes:
        teacher: The teacher, from `tfprune dpp teacher`.
        out: The .npz file to write; until it is done, the state of the training is beside it (.progress.npz).
        student_h_size: Hidden nodes of the student, K.
        nonlinearity: Activation of the hidden nodes. Default: the teacher's. The original calls erf sigmoid.
        lr: Learning rate; the hidden layer learns at lr / sqrt N, the output layer at lr / N.
        epochs: How often to go through the data.
        seed: Of the initial weights.
        overwrite: Replace a file that exists.
    """

    teacher: str
    out: str
    student_h_size: int = 6
    nonlinearity: Literal["erf", "sigmoid", "relu"] | None = None
    lr: float = 0.5
    epochs: int = 1
    seed: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_at_least(1, student_h_size=self.student_h_size, epochs=self.epochs)
        check_at_least(0, seed=self.seed)
        if not self.lr > 0:
            raise ConfigError(f"--lr: expected a value above 0, received {self.lr:g}")

    def check_files(self) -> None:
        """Makes sure that the teacher is there and the result can be written."""
        check_input(self.teacher, "teacher")
        check_output(self.out, suffix=".npz", overwrite=self.overwrite)
