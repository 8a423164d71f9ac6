"""The settings that comparisons of ways of pruning have in common."""

from dataclasses import dataclass

from tfprune.errors import ConfigError
from tfprune.recipes.dpp.output import check_at_least


@dataclass(frozen=True)
class RepeatsConfig:
    """Prunes several networks in all ways.

    Attributes:
        out: Folder for results.csv, table.md, figure.png and what is needed to go on.
        repeats: How many networks, each with seeds of its own.
        num_masks: Masks for each network, way of pruning and size.
        lr: Learning rate of the networks.
        seed: Of the first network; those after it have the next ones.
    """

    out: str
    repeats: int = 3
    num_masks: int = 100
    lr: float = 0.5
    seed: int = 1

    def __post_init__(self) -> None:
        check_at_least(1, repeats=self.repeats, num_masks=self.num_masks)
        check_at_least(0, seed=self.seed)
        if not self.lr > 0:
            raise ConfigError(f"--lr: expected a value above 0, received {self.lr:g}")
