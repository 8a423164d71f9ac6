"""The settings of `test.py`."""

from dataclasses import dataclass
from typing import Literal

from tfprune.errors import ConfigError


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of `test.py`: a trained or pruned model on the test images of a data set.

    Attributes:
        arch: Architecture: ResNet-20, -32, -56, -110, -18, -34 or -50. A pruned model keeps its name and has other
            widths.
        dataset: Data set: CIFAR10, CIFAR100 or digits (embedded, no download).
        trained_param: The model: a `.keras` file or EKG's `.pkl`.
        data_path: Folder that holds the TFDS data sets (its `data_dir`). Default: TFDS's own.
        val_batch_size: Images per batch.
        gpu_id: GPU to use, by index.
        compile: XLA: on, off, or auto (on where the device is a GPU).
        batch_statistics: Normalise each batch with its own statistics, as the original does, instead of the moving
            averages; the result then depends on val_batch_size.
        latency: Measure the latency for one image, too.
        json: File to write the numbers to as well.
    """

    arch: str = "ResNet-56"
    dataset: str = "CIFAR10"
    trained_param: str | None = None
    data_path: str | None = None
    val_batch_size: int = 256
    gpu_id: tuple[int, ...] = (0,)
    compile: Literal["auto", "on", "off"] = "auto"
    batch_statistics: bool = False
    latency: bool = True
    json: str | None = None

    def __post_init__(self) -> None:
        if self.val_batch_size < 1:
            raise ConfigError(f"--val_batch_size: expected a value above 0, received {self.val_batch_size}")
        if self.trained_param is None:
            raise ConfigError("--trained_param: expected a .keras or .pkl file, received nothing")
