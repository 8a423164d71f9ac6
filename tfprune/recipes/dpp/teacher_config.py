"""The settings of `tfprune dpp teacher`."""

from dataclasses import dataclass
from typing import Literal

from tfprune.recipes.dpp.output import check_at_least, check_output

Mode = Literal["normal", "soft_committee"]


@dataclass(frozen=True)
class TeacherConfig:
    """Draws a teacher network, whose outputs are a student's task.

    Attributes:
        out: The .npz file to write. It holds the teacher and how to draw its data, not the data.
        input_dim: Input dimension, N.
        teacher_h_size: Hidden nodes of the teacher, M.
        num_data: Training examples; a tenth as many again are for testing.
        mode: Output weights are v_star (normal) or 1 (soft_committee).
        sig_w: Standard deviation of the noise on the outputs.
        v_star: The teacher's output weights.
        nonlinearity: Activation of the hidden nodes: erf(h / sqrt 2), as in the original, logistic sigmoid, or ReLU.
        seed: The same seed gives the same teacher and data.
        overwrite: Replace a file that exists.
    """

    out: str
    input_dim: int = 500
    teacher_h_size: int = 2
    num_data: int = 800_000
    mode: Mode = "normal"
    sig_w: float = 0.0
    v_star: float = 4.0
    nonlinearity: Literal["erf", "sigmoid", "relu"] = "erf"
    seed: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_at_least(1, input_dim=self.input_dim, teacher_h_size=self.teacher_h_size, num_data=self.num_data)
        check_at_least(0, sig_w=self.sig_w, seed=self.seed)

    def check_files(self) -> None:
        """Makes sure that the result can be written."""
        check_output(self.out, suffix=".npz", overwrite=self.overwrite)
