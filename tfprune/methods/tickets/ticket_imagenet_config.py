"""The settings of `--method ticket` on ImageNet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tfprune.methods.imagenet_config import ImageNetConfig
from tfprune.methods.tickets.ticket_config import TicketConfig


@dataclass(frozen=True)
class TicketImageNetConfig(ImageNetConfig, TicketConfig):  # type: ignore[misc]  # data_path must be given here
    """Finds a ticket of a network for ImageNet, and trains it.

    Attributes:
        method: `ticket`; what `train_imagenet.py` is to do. The default there is `ekg`.
        milestones: Epochs at which the learning rate drops.
        epochs: Epochs of training.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {
        **TicketConfig.GROUPS,
        "data and network": f"{ImageNetConfig.IMAGES} arch stem init",
        "for data in memory only": "random_labels shuffle_pixels fixed_permutation fraction first_images",
    }

    arch: str = "ResNet-50"
    milestones: tuple[int, ...] | None = (30, 60)
    epochs: int | None = 90
