"""The settings of `tfprune dpp image`."""

from dataclasses import dataclass
from typing import Literal

from tfprune.errors import ConfigError
from tfprune.methods.dpp.output import check_at_least, check_output
from tfprune.methods.dpp.prune_config import Choice


@dataclass(frozen=True)
class ImageConfig:
    """Trains an image classifier of dense sigmoid layers, prunes its first layer, and measures accuracies.

    Attributes:
        out: The .csv file to write.
        dataset: Data set: digits, mnist, CIFAR10 or another of `tfprune.data.data_names()`.
        data_path: Where TensorFlow Datasets keeps its prepared data.
        arch: Kind of network.
        widths: Hidden widths. The original has 500 500 for MNIST and 1000 1000 1000 for CIFAR-10.
        choices: Ways of pruning.
        density: Fractions of the first layer's edges to keep; nodes follow at equal numbers of parameters.
        num_masks: Masks for each choice and density.
        beta: Of the RBF kernels exp(-beta d^2), d^2 the mean squared distance per example. Default: the 10 of the
            original, whose 10 / 60000 counts over all examples.
        epochs: At most so many passes over the data.
        stop_accuracy: Stop training at this accuracy on the training set.
        lr: Learning rate, with momentum 0.9.
        batch_size: Examples per step.
        seed: Of weights, order and masks.
        overwrite: Replace a file that exists.
    """

    out: str
    dataset: str = "digits"
    data_path: str | None = None
    arch: Literal["mlp"] = "mlp"
    widths: tuple[int, ...] = (500, 500)
    choices: tuple[Choice, ...] = (
        "dpp_node",
        "dpp_edge",
        "random_node",
        "random_edge",
        "importance_node",
        "importance_edge",
    )
    density: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    num_masks: int = 5
    beta: float = 10.0
    epochs: int = 100
    stop_accuracy: float = 0.99
    lr: float = 0.1
    batch_size: int = 128
    seed: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_at_least(1, num_masks=self.num_masks, epochs=self.epochs, batch_size=self.batch_size)
        for width in self.widths or (0,):
            check_at_least(1, widths=width)
        for density in self.density or (0.0,):
            if not 0 < density < 1:
                raise ConfigError(f"--density: expected fractions between 0 and 1, received {density:g}")
        if not (self.beta > 0 and self.lr > 0):
            raise ConfigError(f"--beta and --lr: expected values above 0, received {self.beta:g} and {self.lr:g}")

    def check_files(self) -> None:
        """Makes sure that the result can be written."""
        check_output(self.out, suffix=".csv", overwrite=self.overwrite)
