"""The settings of Peek-a-Boo on ImageNet, in one stage for pruning and one for training."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

from tfprune.errors import ConfigError
from tfprune.recipes.imagenet_config import ImageNetConfig
from tfprune.recipes.peekaboo.config import GraSPVariant, PeekabooConfig, Schedule, Scope
from tfprune.recipes.run_config import Stem


@dataclass(frozen=True)
class TrainImageNetConfig(ImageNetConfig, PeekabooConfig):  # type: ignore[misc]  # data_path must be given here
    """Prunes a network for ImageNet and trains the signs of what is left, or trains one pruned before.

    The defaults are those of the authors' `main_imagenet_train.py`.

    Attributes:
        method: `peekaboo`; what `train_imagenet.py` is to do. The default there is `ekg`.
        arch: Architecture, such as ResNet-50.
        masks: What `train_imagenet.py prune` wrote: masks, and the initial weights to start from. Masks alone, such as
            `tfprune prune` writes, go with the initial weights that `seed` and `init_method` give.
        pruner: Criterion that prunes where there are no masks: SynFlow, SNIP, GraSP, Mag, random, grad_norm or fisher;
            none for no pruning.
        prune_classifier: Prune the last dense layer, too, as the original does.
        learning_rate: Learning rate of SGD for batches of 256; it grows with batch_size.
        ar_decay_freq: Epochs between two drops of `ar`; as in the original, the first comes an epoch early.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {
        **PeekabooConfig.GROUPS,
        "data and network": f"{ImageNetConfig.IMAGES} arch stem init_method trained_param masks",
    }
    AR_EPOCHS_EARLY: ClassVar[int] = 1

    arch: str = "ResNet-50"
    density: float = 0.5
    prune_classifier: bool = True
    ar_decay_freq: int = 100
    ar_decay_ratio: float = 0.1
    weight_decay: float = 1e-4
    milestones: tuple[int, ...] = (30, 60)
    epochs: int = 90

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.fraction == 1, "fraction", "1, as images are read from the disk here")

    @property
    def base_learning_rate(self) -> float:
        """Learning rate of the first epochs, for this batch size."""
        return self.learning_rate * self.batch_size / 256


@dataclass(frozen=True)
class PruneImageNetConfig:
    """Prunes a network before its training and writes masks and initial weights to one file.

    The defaults are the numbers of the authors' `README.md`, as far as it gives them.

    Attributes:
        data_path: Folder with images train/CLASS/*.JPEG and val/CLASS/*.JPEG (or .jpg, .png), or the data_dir of TFDS.
        out: File to write, `.npz`.
        overwrite: Replace a file that is there.
        seed: Seed of initial weights and of the images to prune by.
        dataset: Name of the data set in TFDS; not used for folders of images.
        image_size: Pixels of each side of an image.
        arch: Architecture, such as ResNet-50.
        stem: First layers of a ResNet: large (7x7 convolution of stride 2, pooling), small (3x3) or auto (large with
            1000 classes).
        init_method: Initial weights of the convolutions: standard, kaiming_normal, kaiming_uniform, kaiming_laplace,
            kaiming_constant_signed, kaiming_constant_unsigned, xavier_normal or xavier_constant.
        trained_param: Network to start from instead: a `.keras` file of the same architecture.
        pruner: Criterion: SynFlow, SNIP, GraSP, Mag, random, grad_norm or fisher.
        density: Fraction of the prunable weights that is kept.
        prune_iters: Rounds of scoring and pruning, each a little further.
        prune_schedule: How the density falls over the rounds: exponential or linear.
        prune_scope: Whether weights are compared over the whole network (global) or layer by layer (local).
        grasp_variant: How GraSP looks at the network: wang (its authors' way, with the statistics of the batch) or
            peekaboo (batch norms on their moving averages, as the original has it; far worse).
        prune_images: Training images that SNIP, GraSP and the like look at.
        prune_balanced: Take as many of these from each class, rather than any.
        prune_batch_size: Images per batch of these.
        prune_classifier: Prune the last dense layer, too, as the original does.
        original_ties: Remove all weights that tie at the threshold, as the original does, instead of exactly so many.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {
        "result": "out overwrite",
        "data and network": "dataset image_size arch stem init_method trained_param seed",
        "pruning": "pruner density prune_iters prune_schedule prune_scope grasp_variant prune_images prune_balanced "
        "prune_batch_size prune_classifier original_ties",
    }
    POSITIONAL: ClassVar[str] = "data_path"

    data_path: str
    out: str
    overwrite: bool = False
    seed: int = 0
    dataset: str = "imagenet2012"
    image_size: int = 224
    arch: str = "ResNet-50"
    stem: Stem = "large"
    init_method: str = "kaiming_normal"
    trained_param: str | None = None
    pruner: str = "SynFlow"
    density: float = 0.5
    prune_iters: int = 100
    prune_schedule: Schedule = "exponential"
    prune_scope: Scope = "global"
    grasp_variant: GraSPVariant = "wang"
    prune_images: int = 100
    prune_balanced: bool = False
    prune_batch_size: int = 256
    prune_classifier: bool = True
    original_ties: bool = False

    def __post_init__(self) -> None:
        self.training()
        if self.pruner.lower() == "none":
            raise ConfigError("--pruner: expected a criterion to prune by, received none")
        out = Path(self.out)
        if out.suffix != ".npz" or not out.parent.is_dir():
            raise ConfigError(f"--out: expected a file that ends in .npz in a folder that exists, received {self.out}")
        if out.exists() and not self.overwrite:
            raise ConfigError(f"--out: {self.out} exists; add --overwrite to replace it, or name another")

    def training(self) -> TrainImageNetConfig:
        """The settings of a training that would prune like this.

        Raises:
            ConfigError: There is no such training.
        """
        own = {"out", "overwrite"}
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in own}
        return TrainImageNetConfig(resize_size=max(256, self.image_size), **values)
