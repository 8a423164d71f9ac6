"""The settings that the runs of all methods share."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from tfprune.errors import ConfigError
from tfprune.settings import Settings, require, setting

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
Strategy = Literal["auto", "multi_worker"]
Compile = Literal["auto", "on", "off"]
Stem = Literal["auto", "small", "large"]


@dataclass(frozen=True)
class RunConfig(Settings):
    """Where a run writes, which devices it uses, which images it reads.

    The config of a method derives from it, and overrides `method` by its name.
    """

    HELP_ORDER: ClassVar[tuple[str, ...]] = ("method", "run", "data and model")

    on_disk: ClassVar[bool] = False
    """Whether images are read from the disk batch by batch, as those of ImageNet, and not held in memory."""

    train_path: str | None = setting(
        None,
        "Folder of the run: settings, metrics, checkpoints, models, results.",
        group="run",
        recorded=False,
    )
    resume: bool = setting(
        False, "Continue the run in `train_path` from where it stopped.", group="run", recorded=False
    )
    overwrite: bool = setting(
        False, "Start again in a `train_path` that already contains a run.", group="run", recorded=False
    )
    plugin: tuple[str, ...] = setting(
        (),
        "Python modules, in the current folder or installed, that register methods or criteria.",
        group="run",
    )
    seed: int = setting(0, "Seed of initial weights, data order and augmentation.", group="run", at_least=0)
    gpu_id: tuple[int, ...] = setting(
        (0,), "GPUs to use, by index; several train in data parallel.", group="run", nonempty=True
    )
    strategy: Strategy = setting(
        "auto",
        "auto: the GPUs of `gpu_id` in this process; multi_worker: the processes that the environment variable "
        "`TF_CONFIG` names, each with its GPUs of `gpu_id`.",
        group="run",
    )
    do_log: int = setting(200, "Steps between two log lines.", group="run", above=0)
    compile: Compile = setting(
        "auto",
        "XLA: on, off, or auto (on if all devices are GPUs, as it is slower on CPUs, but off on several devices with "
        "`sync_batch_norm`, since XLA cannot compile sums over devices).",
        group="run",
    )
    precision: Precision = setting(
        "float32",
        "Number format of training: float32, mixed_bfloat16 or mixed_float16 (with a scaled loss).",
        group="run",
    )
    sync_batch_norm: bool = setting(
        True,
        "With several devices, compute batch statistics over all of them, as one device would; XLA is then off. "
        "`--no_sync_batch_norm` takes those of each device, allows XLA, and is another training where a device has few "
        "images (docs/imagenet.md).",
        group="run",
    )
    accum: int = setting(
        1,
        "Chunks that a training batch is split into; their gradients are accumulated. Devices times chunks must divide "
        "the batch size.",
        group="run",
        above=0,
    )
    export: bool = setting(True, "Also write the result as a SavedModel.", group="run")
    dataset: str = setting(
        "CIFAR10", "Data set: CIFAR10, CIFAR100 or digits (included, no download).", group="data and model"
    )
    data_path: str | None = setting(
        None,
        "Folder that holds the TFDS data sets (its `data_dir`).",
        if_none="TFDS's own",
        group="data and model",
        path="folder",
    )
    stem: Stem = setting(
        "auto",
        "First layers of a ResNet: large (7x7 convolution of stride 2, pooling), small (3x3) or auto (large with 1000 "
        "classes).",
        group="data and model",
    )
    fraction: float = setting(
        1.0,
        "Fraction of the training images to use, of each class; 1 for images that are read from the disk.",
        group="data and model",
        above=0,
        at_most=1,
    )
    batch_size: int = setting(128, "Batch size of training, over all devices.", group="training", above=0)
    val_batch_size: int = setting(256, "Batch size of evaluation.", group="training", above=0)
    method: str = setting("", "The method, whose settings follow; the end of this help lists all.", group="method")

    def __post_init__(self) -> None:
        super().__post_init__()
        all_or_memory = self.fraction == 1 or not self.on_disk
        require(all_or_memory, "fraction", "1 for images that are read from the disk", self.fraction)
        require(self.batch_size >= self.accum, "accum", f"at most the batch size, {self.batch_size}", self.accum)
        if self.resume and self.overwrite:
            raise ConfigError("--resume continues a run and --overwrite removes it: give one of them")


@dataclass(frozen=True)
class ImageNetConfig(Settings):
    """Images of ImageNet, or of data like it; the catalog adds it to the config of a method."""

    on_disk: ClassVar[bool] = True

    data_path: str = setting(
        help="Folder with images train/CLASS/*.JPEG and val/CLASS/*.JPEG (or .jpg, .png), or the data_dir of TFDS.",
        positional=True,
        path="folder",
        kw_only=True,
    )
    dataset: str = setting(
        "imagenet2012", "Name of the data set in TFDS; not used for folders of images.", group="data and model"
    )
    image_size: int = setting(224, "Pixels of each side of an image in a batch.", group="data and model", above=0)
    resize_size: int = setting(
        256, "Pixels of the shorter side of a test image before its center is cut out.", group="data and model"
    )
    stem: Stem = setting("large")
    batch_size: int = setting(256)

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.resize_size >= self.image_size
        require(fits, "resize_size", f"at least image_size, {self.image_size}", self.resize_size)


def usual_milestones(epochs: int) -> tuple[int, ...]:
    """Returns half and three quarters of the epochs, where learning rates usually drop.

    Example:
        >>> usual_milestones(160), usual_milestones(300), usual_milestones(2), usual_milestones(1)
        ((80, 120), (150, 225), (1,), ())
    """
    return tuple(sorted({epoch for epoch in (epochs // 2, epochs * 3 // 4) if epoch > 0}))
