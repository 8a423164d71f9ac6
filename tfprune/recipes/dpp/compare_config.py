"""The settings of `tfprune dpp compare`."""

import math
from dataclasses import dataclass
from typing import Literal

from tfprune.errors import ConfigError
from tfprune.recipes.dpp.output import check_at_least
from tfprune.recipes.dpp.repeats_config import RepeatsConfig


@dataclass(frozen=True)
class CompareConfig(RepeatsConfig):
    """Compares ways of pruning at equal numbers of parameters: the paper's figure.

    Attributes:
        out: Folder for results.csv, table.md, figure.png, teachers and students. Those that are there already are not
            made again.
        node_k: Numbers of nodes to keep. Default: 1 to one less than all. Edges follow: K e + K = k (N + 1).
        simulated: How many of these masks are also simulated.
        examples: Fresh examples to simulate on.
        input_dim: Input dimension, N.
        teacher_h_size: Hidden nodes of the teachers, M.
        student_h_size: Hidden nodes of the students, K.
        num_data: Training examples.
        mode: Output weights are v_star (normal) or 1 (soft_committee).
        sig_w: Standard deviation of the noise on the outputs.
        v_star: The teachers' output weights.
        nonlinearity: Activation of teachers and students.
    """

    node_k: tuple[int, ...] | None = None
    simulated: int = 5
    examples: int = 10_000
    input_dim: int = 500
    teacher_h_size: int = 2
    student_h_size: int = 6
    num_data: int = 800_000
    mode: Literal["normal", "soft_committee"] = "normal"
    sig_w: float = 0.0
    v_star: float = 4.0
    nonlinearity: Literal["erf", "sigmoid", "relu"] = "erf"

    @property
    def nodes(self) -> tuple[int, ...]:
        """The numbers of nodes to keep."""
        return tuple(range(1, self.student_h_size)) if self.node_k is None else self.node_k

    def edges(self, nodes: int) -> int:
        """How many edges of each node are as many parameters as so many nodes; halves are rounded up."""
        return math.floor((nodes * self.input_dim + nodes - self.student_h_size) / self.student_h_size + 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, simulated=self.simulated)
        check_at_least(2, examples=self.examples, input_dim=self.input_dim, student_h_size=self.student_h_size)
        for k in self.nodes:
            if not 1 <= k < self.student_h_size or self.edges(k) < 1:
                raise ConfigError(
                    f"--node_k: expected numbers from 1 to {self.student_h_size - 1} (--student_h_size less one) that "
                    f"leave an edge for each node, received {k}"
                )

    def check_files(self) -> None:
        """Nothing needs to be there."""
