"""The settings of `test.py`."""

from dataclasses import dataclass
from typing import Literal

from tfprune.files import check_output
from tfprune.settings import Settings, require, setting

_BATCH = 256


@dataclass(frozen=True)
class EvaluateConfig(Settings):
    """Evaluates a trained or pruned model on the test images of a data set."""

    trained_param: str = setting(
        help="The model, also as --trained_param: a `.keras` file, pruned or not, EKG's `.pkl`, the folder of a run "
        "(its `best.keras`, or else `trained.keras`), or a model of `keras.applications` with its ImageNet weights, "
        "such as resnet50.",
        group="model",
        positional=True,
    )
    arch: str | None = setting(
        None,
        "Architecture that it must have. A pruned model keeps its name and has other widths.",
        if_none="any, in a `.keras` file; for a `.pkl` that of the run whose folder it is in, otherwise ResNet-56",
        group="model",
    )
    dataset: str | None = setting(
        None,
        "Data set: CIFAR10, CIFAR100, digits (included, no download), imagenet, or another one that TFDS has prepared.",
        if_none="the one that the file was trained on, as it says itself, or the settings in its folder; imagenet for "
        "a model of `keras.applications`; otherwise CIFAR10",
        group="data",
    )
    data_path: str | None = setting(
        None,
        "Folder that holds the TFDS data sets (its `data_dir`), or, for imagenet, images train/CLASS/*.JPEG and "
        "val/CLASS/*.JPEG.",
        if_none="that of the run whose folder the file is in, otherwise TFDS's own",
        group="data",
    )
    image_size: int | None = setting(
        None,
        "Pixels of each side of an image, if images are read from the disk.",
        if_none="the size that the model takes",
        group="data",
        above=0,
    )
    resize_size: int | None = setting(
        None,
        "Pixels of the shorter side of such an image before its center is cut out.",
        if_none="as in the run that wrote the file; otherwise 8/7 of image_size, which is 256 for 224",
        group="data",
        above=0,
    )
    val_batch_size: int | None = setting(
        None,
        "Images per batch.",
        if_none="256, or as in the run that wrote the file where batch_statistics are used",
        group="data",
        above=0,
    )
    gpu_id: tuple[int, ...] = setting(
        (0,), "GPU to use, by index; on a machine without one, 0 is the CPU.", group="execution"
    )
    compile: Literal["auto", "on", "off"] = setting(
        "auto", "XLA: on, off, or auto (on if the device is a GPU).", group="execution"
    )
    batch_statistics: bool | None = setting(
        None,
        "Normalize each batch with its own statistics, as EKG's original does, instead of the moving averages; the "
        "result then depends on val_batch_size.",
        if_none="as in the run that wrote the file; otherwise no",
        group="data",
    )
    latency: bool = setting(True, "Also measure the latency for one image.", group="output")
    evaluate: bool = setting(False, "Measure accuracy and loss only, and no latency.", group="output")
    json: str | None = setting(None, "File to write the numbers to as well.", if_none="none", group="output")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.gpu_id) == 1, "gpu_id", "one index, as a test runs on one device", self.gpu_id)
        check_output(self.json, overwrite=True)

    @property
    def images_per_batch(self) -> int:
        """The batch size: the one that is given, or the default."""
        return self.val_batch_size or _BATCH
