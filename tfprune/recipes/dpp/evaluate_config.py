"""The settings of `tfprune dpp evaluate`."""

from dataclasses import dataclass

from tfprune.recipes.dpp.output import check_at_least, check_input, check_output


@dataclass(frozen=True)
class EvaluateConfig:
    """Order parameters and generalisation errors of a pruned student, in theory and in simulation.

    Attributes:
        masks: The masks, from `tfprune dpp prune`.
        teacher: The teacher of the student that they prune.
        examples: Fresh examples to simulate on.
        figure: A .png file for heat maps of Q and R, before and after pruning. Default: beside the masks.
        out: An .npz file for the numbers. Default: none.
        overwrite: Replace files that exist.
    """

    masks: str
    teacher: str
    examples: int = 20_000
    figure: str | None = None
    out: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_at_least(2, examples=self.examples)

    def check_files(self) -> None:
        """Makes sure that the networks are there and the results can be written."""
        check_input(self.masks, "prune")
        check_input(self.teacher, "teacher")
        check_output(self.figure, suffix=".png", overwrite=self.overwrite)
        check_output(self.out, suffix=".npz", overwrite=self.overwrite)
