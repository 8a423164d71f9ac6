"""The settings of `tfprune dpp prune`."""

from dataclasses import dataclass
from typing import Literal

from tfprune.recipes.dpp.output import check_at_least, check_input, check_output

Choice = Literal["dpp_node", "dpp_edge", "random_node", "random_edge", "importance_node", "importance_edge"]


@dataclass(frozen=True)
class PruneConfig:
    """Draws masks for a student's hidden layer.

    Attributes:
        student: The student, from `tfprune dpp student`.
        teacher: Its teacher.
        k: Nodes to keep, or edges to keep in each node.
        out: The .npz file to write.
        choice: What is pruned, and how it is chosen.
        num_masks: How many masks to draw; choices by importance have one.
        reweight: Let what is kept take over the work of what is cut.
        seed: Of the masks.
        sampler: What draws from DPPs: ours, or the library DPPy, many times slower and of the same law.
        original_quirks: Do as the original did: random edges by chance one by one, so that their number varies; output
            weights ranked with their sign; reweighted nodes leave the cut ones in.
        overwrite: Replace a file that exists.
    """

    student: str
    teacher: str
    k: int
    out: str
    choice: Choice = "dpp_node"
    num_masks: int = 100
    reweight: bool = False
    seed: int = 1
    sampler: Literal["tfprune", "dppy"] = "tfprune"
    original_quirks: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_at_least(1, k=self.k, num_masks=self.num_masks)
        check_at_least(0, seed=self.seed)

    def check_files(self) -> None:
        """Makes sure that the networks are there and the result can be written."""
        check_input(self.student, "student")
        check_input(self.teacher, "teacher")
        check_output(self.out, suffix=".npz", overwrite=self.overwrite)
