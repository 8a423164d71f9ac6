"""The settings of dense training, which those of tickets extend."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from tfprune.errors import ConfigError
from tfprune.recipes.run_config import RunConfig

_LONG = "tiny-imagenet"
_EPOCHS, _MILESTONES = 160, (80, 120)
_LONG_EPOCHS, _LONG_MILESTONES = 300, (150, 225)


@dataclass(frozen=True)
class DenseConfig(RunConfig):
    """Trains a network without pruning: the baseline of tickets, and where tickets of trained networks come from.

    Attributes:
        method: `dense`; what `train_cifar.py` is to do. The default there is `ekg`.
        train_path: Folder of the run: settings, metrics, checkpoints, models, results. Default: a folder under
            `runs/dense` named after architecture and data set.
        seed: Seed of initial weights, data order and augmentation, and of all that is drawn for a ticket.
        dataset: Data set: CIFAR10, CIFAR100, tiny-imagenet or digits (embedded, no download).
        data_path: Folder that holds the TFDS data sets (its `data_dir`), or Tiny-ImageNet. Default: TFDS's own.
        arch: Architecture, such as VGG-19, ResNet-32, or ResNet-32x2, which is as wide as the authors' ResNet.
        init: Network to start from: a `.keras` file of the same architecture, such as `initial.keras` of another run.
            Default: weights drawn anew.
        random_labels: Draw the training labels at random; the test labels stay.
        shuffle_pixels: Permute the values of every training image, each by a permutation of its own.
        fixed_permutation: Permute all images alike instead.
        fraction: Fraction of the training images to use, the same one of every class.
        first_images: Use the first images of the file, of any class, instead.
        learning_rate: Learning rate of SGD.
        momentum: Momentum of SGD.
        weight_decay: L2 coefficient of SGD, added to the gradients.
        milestones: Epochs at which the learning rate drops. Default: 80 and 120; 150 and 225 for tiny-imagenet.
        gamma: Factor of each drop.
        epochs: Epochs of training. Default: 160; 300 for tiny-imagenet.
        test_each_epoch: Evaluate after each epoch, not only at the end.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {
        **RunConfig.GROUPS,
        "data and network": "dataset data_path arch stem init random_labels shuffle_pixels fixed_permutation fraction "
        "first_images",
        "training": "learning_rate momentum weight_decay milestones gamma epochs batch_size val_batch_size "
        "test_each_epoch",
    }

    POSITIVE: ClassVar[str] = f"{RunConfig.POSITIVE} learning_rate gamma"
    NOT_NEGATIVE: ClassVar[str] = f"{RunConfig.NOT_NEGATIVE} momentum weight_decay"

    method: Literal["dense"] = "dense"
    arch: str = "ResNet-32"
    init: str | None = None
    random_labels: bool = False
    shuffle_pixels: bool = False
    fixed_permutation: bool = False
    fraction: float = 1.0
    first_images: bool = False
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    milestones: tuple[int, ...] | None = None
    gamma: float = 0.1
    epochs: int | None = None
    batch_size: int = 64
    test_each_epoch: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(0 < self.fraction <= 1, "fraction", "a fraction of the data, above 0 and at most 1")
        self._require(self.momentum < 1, "momentum", "a value below 1")
        self._require(self.epochs is None or self.epochs > 0, "epochs", "a value above 0")
        self._require(all(point > 0 for point in self.milestones or ()), "milestones", "epochs above 0")
        if self.fixed_permutation and not self.shuffle_pixels:
            raise ConfigError("--fixed_permutation does nothing without --shuffle_pixels: add it, or leave this out")

    @property
    def schedule(self) -> tuple[int, tuple[int, ...]]:
        """Epochs and milestones: those given, or those of the data set."""
        long = self.dataset.casefold() == _LONG
        epochs = self.epochs or (_LONG_EPOCHS if long else _EPOCHS)
        return epochs, (_LONG_MILESTONES if long else _MILESTONES) if self.milestones is None else self.milestones

    @property
    def default_path(self) -> str:
        """The run's folder where none is given."""
        return f"runs/dense/{self.arch}-{self.dataset}"
