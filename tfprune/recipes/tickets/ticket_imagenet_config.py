"""The settings of `--method ticket` on ImageNet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from tfprune.recipes.tickets.dense_imagenet_config import DenseImageNetConfig
from tfprune.recipes.tickets.ticket_config import TicketConfig


@dataclass(frozen=True)
class TicketImageNetConfig(DenseImageNetConfig, TicketConfig):  # type: ignore[misc]  # their methods differ
    """Finds a ticket of a network for ImageNet, and trains it.

    Attributes:
        method: `ticket`; what `train_imagenet.py` is to do. The default there is `ekg`.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {**TicketConfig.GROUPS, **DenseImageNetConfig.GROUPS}

    method: Literal["ticket"] = "ticket"  # type: ignore[assignment]
