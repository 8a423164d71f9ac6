"""The settings of `test.py`."""

from dataclasses import dataclass
from typing import Literal

from tfprune.settings import Settings, check_output, require, setting


@dataclass(frozen=True)
class EvaluateConfig(Settings):
    """Evaluates a trained or pruned model on the test images of a data set."""

    trained_param: str = setting(
        help="The model: a `.keras` file, pruned or not, EKG's `.pkl`, the folder of a run, or a model of "
        "`keras.applications` with its ImageNet weights, such as resnet50.",
        group="model",
    )
    arch: str | None = setting(
        None,
        "Architecture that it must have. A pruned model keeps its name and has other widths.",
        if_none="that of the run that wrote the file, if it is still in the run's folder; any on ImageNet; otherwise "
        "ResNet-56",
        group="model",
    )
    dataset: str | None = setting(
        None,
        "Data set: CIFAR10, CIFAR100, digits (included, no download), imagenet, or another one that TFDS has prepared.",
        if_none="that of the run that wrote the file, if it is still in the run's folder; imagenet for a model of "
        "`keras.applications`; otherwise CIFAR10",
        group="data",
    )
    data_path: str | None = setting(
        None,
        "Folder that holds the TFDS data sets (its `data_dir`), or, for imagenet, images train/CLASS/*.JPEG and "
        "val/CLASS/*.JPEG.",
        if_none="TFDS's own",
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
        if_none="8/7 of image_size, which is 256 for 224",
        group="data",
        above=0,
    )
    val_batch_size: int = setting(256, "Images per batch.", group="data", above=0)
    gpu_id: tuple[int, ...] = setting(
        (0,), "GPU to use, by index; on a machine without one, 0 is the CPU.", group="execution"
    )
    compile: Literal["auto", "on", "off"] = setting(
        "auto", "XLA: on, off, or auto (on if the device is a GPU).", group="execution"
    )
    batch_statistics: bool = setting(
        False,
        "Normalize each batch with its own statistics, as the original does, instead of the moving averages; the "
        "result then depends on val_batch_size.",
        group="data",
    )
    latency: bool = setting(True, "Also measure the latency for one image.", group="output")
    evaluate: bool = setting(False, "Measure accuracy and loss only, and no latency.", group="output")
    json: str | None = setting(None, "File to write the numbers to as well.", if_none="none", group="output")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.gpu_id) == 1, "gpu_id", "one index, as a test runs on one device", self.gpu_id)
        check_output(self.json, overwrite=True)
