"""The settings of `tfprune dpp image`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfprune.errors import ConfigError, RunFolderError
from tfprune.recipes.dpp.output import check_at_least
from tfprune.recipes.dpp.prune_config import Choice
from tfprune.recipes.dpp.repeats_config import RepeatsConfig


@dataclass(frozen=True)
class ImageConfig(RepeatsConfig):
    """Trains image classifiers of dense sigmoid layers, prunes their first layer, and measures accuracies.

    Attributes:
        num_masks: Masks for each network, way of pruning and density; ways by importance have one.
        dataset: Data set: digits, MNIST, CIFAR10 or another of `tfprune.recipes.data.data_names()`.
        data_path: Where TensorFlow Datasets keeps its prepared data.
        examples: Training images to take, the first ones. Default: all.
        pool: Average the images over squares of this side: edges' kernels take time that grows with the third power of
            the number of inputs, for each hidden node.
        arch: Kind of network.
        widths: Hidden widths. The original has 500 500 for MNIST and 1000 1000 1000 for CIFAR-10.
        choices: Ways of pruning.
        density: Fractions of the first layer's edges to keep; nodes follow at equal numbers of weights in the first two
            layers.
        beta: Of the RBF kernels exp(-beta d^2), d^2 the mean squared distance per example. Default: the 10 of the
            original, whose 10 / 60000 counts over all examples.
        epochs: At most so many passes over the data.
        stop_accuracy: Stop training at this accuracy on the training set.
        lr: Learning rate, with momentum 0.9.
        batch_size: Examples per step.
        overwrite: Replace results that are in the folder.
    """

    num_masks: int = 5
    dataset: str = "digits"
    data_path: str | None = None
    examples: int | None = None
    pool: int = 1
    arch: Literal["mlp"] = "mlp"
    widths: tuple[int, ...] = (500, 500)
    choices: tuple[Choice, ...] = (
        "dpp_node",
        "random_node",
        "importance_node",
        "dpp_edge",
        "random_edge",
        "importance_edge",
    )
    density: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    beta: float = 10.0
    epochs: int = 100
    stop_accuracy: float = 0.99
    lr: float = 0.1
    batch_size: int = 128
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, epochs=self.epochs, batch_size=self.batch_size, examples=self.examples, pool=self.pool)
        for width in self.widths or (0,):
            check_at_least(1, widths=width)
        for density in self.density or (0.0,):
            if not 0 < density < 1:
                raise ConfigError(f"--density: expected fractions between 0 and 1, received {density:g}")
        if not self.choices:
            raise ConfigError("--choices: expected at least one way of pruning, received none")
        if not self.beta > 0:
            raise ConfigError(f"--beta: expected a value above 0, received {self.beta:g}")

    def check_files(self) -> None:
        """Makes sure that no results are lost."""
        if not self.overwrite and (Path(self.out) / "results.csv").exists():
            raise RunFolderError(f"{self.out} holds results.csv; add --overwrite to replace it, or name another folder")
