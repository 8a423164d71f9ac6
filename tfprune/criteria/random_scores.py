"""Chance."""

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from tfprune.criteria.criterion_data import DataUse
from tfprune.criteria.registry import register
from tfprune.graph import ChannelGroups


@register("random")
@dataclass(frozen=True)
class Random:
    """Random scores: what every other criterion has to beat.

    Attributes:
        seed: The same seed gives the same scores.
    """

    name: ClassVar[str] = "random"
    uses_data: ClassVar[DataUse] = "never"
    seed: int = 0

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Evenly distributed between 0 and 1, `[channels]`."""
        return np.random.default_rng(self.seed).random(groups.channels)
