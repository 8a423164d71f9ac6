"""The settings of `test.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tfprune.errors import ConfigError


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of `test.py`: a trained or pruned model on the test images of a data set.

    Attributes:
        trained_param: The model: a `.keras` file, pruned or whole, EKG's `.pkl`, the folder of a run, or a network of
            `keras.applications` with its ImageNet weights, such as resnet50.
        arch: Architecture that it must be. A pruned model keeps its name and has other widths. Default: that which a
            file of `--method multiprize` names; any on ImageNet; otherwise ResNet-56.
        dataset: Data set: CIFAR10, CIFAR100, digits (embedded, no download), imagenet, or another one that TFDS has
            prepared. Default: the one which a file of `--method multiprize` names; imagenet for a network of
            `keras.applications`; otherwise CIFAR10.
        data_path: Folder that holds the TFDS data sets (its `data_dir`), or, for imagenet, images train/CLASS/*.JPEG
            and val/CLASS/*.JPEG. Default: TFDS's own.
        image_size: Pixels of each side of an image, where images are read from the disk. Default: what the model takes.
        resize_size: Pixels of the shorter side of such an image, of which the middle is taken. Default: 8/7 of
            image_size, which is 256 for 224.
        val_batch_size: Images per batch.
        gpu_id: GPU to use, by index; on a machine without one, 0 is the CPU.
        compile: XLA: on, off, or auto (on where the device is a GPU).
        batch_statistics: Normalise each batch with its own statistics, as the original does, instead of the moving
            averages; the result then depends on val_batch_size.
        latency: Measure the latency for one image, too.
        evaluate: Measure accuracy and loss only, and no latency.
        json: File to write the numbers to as well.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {
        "model": "trained_param arch",
        "data": "dataset data_path image_size resize_size val_batch_size batch_statistics",
        "execution": "gpu_id compile",
        "output": "latency evaluate json",
    }

    trained_param: str
    arch: str | None = None
    dataset: str | None = None
    data_path: str | None = None
    image_size: int | None = None
    resize_size: int | None = None
    val_batch_size: int = 256
    gpu_id: tuple[int, ...] = (0,)
    compile: Literal["auto", "on", "off"] = "auto"
    batch_statistics: bool = False
    latency: bool = True
    evaluate: bool = False
    json: str | None = None

    def __post_init__(self) -> None:
        for name in ("val_batch_size", "image_size", "resize_size"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"--{name}: expected a value above 0, received {value}")
        if len(self.gpu_id) != 1:
            raise ConfigError(f"--gpu_id: expected one index, received {list(self.gpu_id)}: a test runs on one device")
        if self.json is not None and not Path(self.json).parent.is_dir():
            raise ConfigError(f"--json: the folder of {self.json} does not exist; make it, or name another")
