"""The settings of dense training, which those of tickets extend."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, get_args

from tfprune.errors import ConfigError

Precision = Literal["float32", "mixed_bfloat16"]
Compile = Literal["auto", "on", "off"]

_LONG = "tiny-imagenet"
_EPOCHS, _MILESTONES = 160, (80, 120)
_LONG_EPOCHS, _LONG_MILESTONES = 300, (150, 225)


@dataclass(frozen=True)
class DenseConfig:
    """Trains a network without pruning: the baseline of tickets, and where tickets of trained networks come from.

    Attributes:
        method: `dense`; what `train_cifar.py` is to do. The default there is `ekg`.
        train_path: Folder of the run: settings, metrics, checkpoints, models, results. Default: a folder under
            `runs/dense` named after architecture and data set.
        resume: Continue the run in `train_path` where it stopped.
        overwrite: Start anew in a `train_path` that already holds a run.
        seed: Seed of initial weights, data order and augmentation, and of all that is drawn for a ticket.
        gpu_id: GPUs to use, by index; several train in data parallel.
        do_log: Steps between two log lines.
        compile: XLA: on, off, or auto (on where all devices are GPUs: on CPUs XLA is slower).
        precision: Number format of training: float32 or mixed_bfloat16.
        sync_batch_norm: With several devices, take batch statistics over all of them.
        accum: Chunks that a training batch is cut into; their gradients are accumulated.
        export: Also write the result as a SavedModel.
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
        batch_size: Batch size of training, over all devices.
        val_batch_size: Batch size of evaluation.
        test_each_epoch: Evaluate after each epoch, not only at the end.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {
        "run": "method train_path resume overwrite seed gpu_id do_log compile precision sync_batch_norm accum export",
        "data and network": "dataset data_path arch init random_labels shuffle_pixels fixed_permutation fraction "
        "first_images",
        "training": "learning_rate momentum weight_decay milestones gamma epochs batch_size val_batch_size "
        "test_each_epoch",
    }

    method: Literal["dense"] = "dense"
    train_path: str | None = None
    resume: bool = False
    overwrite: bool = False
    seed: int = 0
    gpu_id: tuple[int, ...] = (0,)
    do_log: int = 200
    compile: Compile = "auto"
    precision: Precision = "float32"
    sync_batch_norm: bool = True
    accum: int = 1
    export: bool = True
    dataset: str = "CIFAR10"
    data_path: str | None = None
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
    val_batch_size: int = 256
    test_each_epoch: bool = True

    def __post_init__(self) -> None:
        for name in ("do_log", "accum", "learning_rate", "gamma", "batch_size", "val_batch_size"):
            self._require(getattr(self, name) > 0, name, "a value above 0")
        for name in ("seed", "momentum", "weight_decay"):
            self._require(getattr(self, name) >= 0, name, "a value of at least 0")
        for name, kind in (("precision", Precision), ("compile", Compile)):
            self._require(getattr(self, name) in get_args(kind), name, f"one of {', '.join(get_args(kind))}")
        self._require(0 < self.fraction <= 1, "fraction", "a fraction of the data, above 0 and at most 1")
        self._require(self.momentum < 1, "momentum", "a value below 1")
        self._require(self.batch_size >= self.accum, "accum", f"at most the batch size, {self.batch_size}")
        self._require(len(self.gpu_id) > 0, "gpu_id", "at least one index")
        self._require(self.epochs is None or self.epochs > 0, "epochs", "a value above 0")
        self._require(all(point > 0 for point in self.milestones or ()), "milestones", "epochs above 0")
        if self.fixed_permutation and not self.shuffle_pixels:
            raise ConfigError("--fixed_permutation does nothing without --shuffle_pixels: add it, or leave this out")
        if self.resume and self.overwrite:
            raise ConfigError("--resume continues a run and --overwrite removes it: give one of them")

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

    def settings(self) -> dict[str, object]:
        """The fields that decide the result, as plain values for a YAML file."""
        decided_elsewhere = {"resume", "overwrite", "train_path"}
        values = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name not in decided_elsewhere
        }
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise ConfigError(f"--{name}: expected {expected}, received {getattr(self, name)}")
