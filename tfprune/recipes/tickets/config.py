"""The settings of dense training, and those of tickets, which extend them."""

from dataclasses import dataclass
from typing import Literal

from tfprune.errors import ConfigError
from tfprune.recipes.catalog import register_method
from tfprune.recipes.run_config import RunConfig, usual_milestones
from tfprune.settings import require, setting
from tfprune.tables import listed

Corrupt = Literal["pruning", "training", "both"]
Rule = Literal["quadratic", "linear_decay", "ascend", "cubic", "uniform"]
Treatment = Literal["auto", "chain", "residual"]
ScorePrecision = Literal["float64", "float32"]
TICKETS = ("smart_ratio", "hybrid", "lottery", "magnitude", "snip", "grasp", "synflow", "random", "iterative")
BY_RATIO = ("smart_ratio", "hybrid")
ON_DATA = ("snip", "grasp")
SCORED = (*ON_DATA, "synflow")
_LONG = "tiny-imagenet"
_EPOCHS, _LONG_EPOCHS = 160, 300
_IN_MEMORY = "training images, of data in memory only"
_IMAGENET = {"arch": "ResNet-50", "milestones": (30, 60), "epochs": 90}


@dataclass(frozen=True)
class DenseConfig(RunConfig):
    """Trains a model without pruning: the baseline of tickets, and the start of some tickets and of EKG."""

    method: Literal["dense"] = "dense"
    train_path: str | None = setting(None, if_none="a folder under `runs/dense` named after architecture and data set")
    seed: int = setting(
        0, "Seed of initial weights, data order and augmentation, and of all random choices of a ticket.", at_least=0
    )
    dataset: str = setting("CIFAR10", "Data set: CIFAR10, CIFAR100, tiny-imagenet or digits (included, no download).")
    data_path: str | None = setting(None, "Folder that holds the TFDS data sets (its `data_dir`), or Tiny-ImageNet.")
    arch: str = setting(
        "ResNet-32",
        "Architecture, such as VGG-19, ResNet-32, or ResNet-32x2, which is as wide as the authors' ResNet.",
        group="data and model",
    )
    init: str | None = setting(
        None,
        "Model to start from: a `.keras` file of the same architecture, such as `initial.keras` of another run.",
        if_none="a model with random weights",
        group="data and model",
        path="file",
    )
    random_labels: bool = setting(
        False, "Draw the training labels at random; the test labels stay as they are.", group=_IN_MEMORY
    )
    shuffle_pixels: bool = setting(
        False, "Permute the values of every training image, each by its own permutation.", group=_IN_MEMORY
    )
    fixed_permutation: bool = setting(False, "Permute all images by the same permutation instead.", group=_IN_MEMORY)
    fraction: float = setting(
        1.0,
        "Fraction of the training images to use, the same one of every class.",
        group=_IN_MEMORY,
        above=0,
        at_most=1,
    )
    first_images: bool = setting(False, "Use the first images of the file, of any class, instead.", group=_IN_MEMORY)
    learning_rate: float = setting(0.1, "Learning rate of SGD.", group="training", above=0)
    momentum: float = setting(0.9, "Momentum of SGD.", group="training", at_least=0, below=1)
    weight_decay: float = setting(1e-4, "L2 coefficient of SGD, added to the gradients.", group="training", at_least=0)
    milestones: tuple[int, ...] | None = setting(
        None,
        "Epochs at which the learning rate drops.",
        if_none="half and three quarters of the epochs: 80 and 120 of 160",
        group="training",
        above=0,
        distinct=True,
    )
    gamma: float = setting(0.1, "Factor of each drop.", group="training", above=0)
    epochs: int | None = setting(
        None, "Epochs of training.", if_none="160; 300 for tiny-imagenet", group="training", above=0
    )
    batch_size: int = 64
    test_each_epoch: bool = setting(True, "Evaluate after each epoch, not only at the end.", group="training")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fixed_permutation and not self.shuffle_pixels:
            raise ConfigError("--fixed_permutation does nothing without --shuffle_pixels: add it, or leave this out")

    @property
    def schedule(self) -> tuple[int, tuple[int, ...]]:
        """Epochs and milestones: those given, or those of the data set and the usual ones of the epochs."""
        epochs = self.epochs or (_LONG_EPOCHS if self.dataset.casefold() == _LONG else _EPOCHS)
        return epochs, usual_milestones(epochs) if self.milestones is None else self.milestones

    @property
    def default_path(self) -> str:
        """The run's folder if none is given."""
        return f"runs/dense/{self.arch}-{self.dataset}"


@dataclass(frozen=True)
class TicketConfig(DenseConfig):
    """Random tickets: draws or finds a ticket, the weights that are kept, and trains it, or a sanity check of it."""

    method: Literal["ticket"] = "ticket"  # type: ignore[assignment]
    train_path: str | None = setting(
        None, if_none="a folder under `runs/ticket` named after architecture, data set, ticket and density"
    )
    init: str | None = setting(
        None,
        "Model to prune and to start from: a `.keras` file of the same architecture. With a trained one, hybrid "
        "tickets are those of the paper.",
    )
    ticket: str = setting(
        "smart_ratio",
        "How the ticket is found: smart_ratio, hybrid, lottery, magnitude, snip, grasp, synflow, random, or iterative "
        "(magnitude, in rounds of training); or a file: masks that `tfprune prune` wrote (.npz), or a pruned model "
        "(.keras), whose nonzero weights are kept.",
        group="ticket",
        path="file",
    )
    density: float = setting(
        0.02,
        "Fraction of the prunable weights that is kept; a file has its own.",
        group="ticket",
        above=0,
        at_most=1,
    )
    hybrid: bool = setting(
        False,
        "With smart_ratio, the same as `--ticket hybrid`: keep the largest weights rather than random ones.",
        group="ticket",
    )
    rule: Rule = setting(
        "quadratic",
        "How the smart ratios fall from layer to layer: quadratic, linear_decay, ascend, cubic or uniform.",
        group="ticket",
    )
    treatment: Treatment = setting(
        "auto",
        "Whether they are divided by the square of a layer's index as for VGG (chain), or not as for ResNets "
        "(residual); auto: according to the model.",
        group="ticket",
    )
    last_ratio: float = setting(
        0.3, "Fraction of the last layer that the smart ratios keep.", group="ticket", at_least=0, at_most=1
    )
    original_quirks: bool = setting(
        False,
        "Keep exactly as many weights as the original, one more or less, and lose what the smart ratios cut off from "
        "later layers.",
        group="ticket",
    )
    samples_per_class: int = setting(10, "Images of each class that snip and grasp use.", group="ticket", above=0)
    prune_batch_size: int | None = setting(
        None,
        "The most images for which snip and grasp compute gradients at the same time; this bounds the memory. Each "
        "batch has as many images of each class as of another, sorted by class; batch norms use its statistics, with "
        "grasp those of half a batch. The original takes all images at once, and 200 at once of tiny-imagenet.",
        if_none="as many as need about 5 GB in float64",
        group="ticket",
        above=0,
    )
    prune_precision: ScorePrecision = setting(
        "float64",
        "Number format of the scores of snip, grasp and synflow: float64, or float32, as the original has it, with "
        "half of the memory.",
        group="ticket",
    )
    prune_iters: int = setting(100, "Rounds in which synflow prunes.", group="ticket", above=0)
    rounds: int = setting(5, "Rounds of training and pruning of an iterative ticket.", group="ticket", above=0)
    rewind_epoch: int = setting(
        0, "Epoch to whose weights an iterative ticket returns; 0 for the initial ones.", group="ticket", at_least=0
    )
    rearrange: bool = setting(False, "Sanity check: permute the mask of every layer.", group="sanity checks")
    inverse: bool = setting(
        False,
        "Sanity check: keep the weights with the lowest scores of each layer, as many as it would keep.",
        group="sanity checks",
    )
    shuffle_weights: bool = setting(
        False, "Sanity check: permute the kept weights of every layer.", group="sanity checks"
    )
    reinitialize: bool = setting(False, "Sanity check: draw all weights again after pruning.", group="sanity checks")
    corrupt: Corrupt = setting(
        "pruning",
        "Where random_labels, shuffle_pixels and fraction apply: pruning (as in the original), training, both.",
        group="sanity checks",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        known = self.ticket in TICKETS or self.from_file
        require(known, "ticket", f"{', '.join(TICKETS)}, or a .npz or .keras file", self.ticket)
        epochs, _ = self.schedule
        require(self.rewind_epoch < epochs, "rewind_epoch", f"an epoch before the last of {epochs}", self.rewind_epoch)
        if self.hybrid and self.ticket not in BY_RATIO:
            raise ConfigError(f"--hybrid is for smart_ratio, received --ticket {self.ticket}: leave one out")
        if self.inverse and (self.from_file or self.ticket == "iterative"):
            raise ConfigError(f"--inverse needs scores, --ticket {self.ticket} has none: name another ticket")
        for name, tickets in (("prune_batch_size", ON_DATA), ("prune_precision", SCORED)):
            if self.changed((name,)) and self.ticket not in tickets:
                raise ConfigError(f"--{name} is for {listed(tickets)}, received --ticket {self.ticket}: leave it out")
        if self.rewind_epoch and self.ticket != "iterative":
            raise ConfigError("--rewind_epoch is for iterative tickets; others start from the weights of --init")

    @property
    def from_file(self) -> bool:
        """Whether the ticket is read from a file."""
        return self.ticket.endswith((".npz", ".keras"))

    @property
    def default_path(self) -> str:
        """The run's folder if none is given."""
        what = "file" if self.from_file else f"{'hybrid' if self.hybrid else self.ticket}-{self.density:g}"
        checks = ("rearrange", "inverse", "shuffle_weights", "reinitialize")
        marks = "".join(f"-{name}" for name in checks if getattr(self, name))
        return f"runs/ticket/{self.arch}-{self.dataset}-{what}{marks}"


register_method(DenseConfig, imagenet=_IMAGENET)
register_method(TicketConfig, imagenet=_IMAGENET)
