"""The settings of `--method dense` on ImageNet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tfprune.recipes.imagenet_config import ImageNetConfig
from tfprune.recipes.tickets.dense_config import DenseConfig


@dataclass(frozen=True)
class DenseImageNetConfig(ImageNetConfig, DenseConfig):  # type: ignore[misc]  # data_path must be given here
    """Trains a network without pruning on ImageNet: what tickets and EKG are compared with, and start from.

    Attributes:
        method: `dense`; what `train_imagenet.py` is to do. The default there is `ekg`.
        milestones: Epochs at which the learning rate drops.
        epochs: Epochs of training.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {
        **DenseConfig.GROUPS,
        "data and network": f"{ImageNetConfig.IMAGES} arch stem init",
        "for data in memory only": "random_labels shuffle_pixels fixed_permutation fraction first_images",
    }

    arch: str = "ResNet-50"
    milestones: tuple[int, ...] | None = (30, 60)
    epochs: int | None = 90
