"""What a criterion is."""

from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np

from tfprune.criteria.criterion_data import DataUse
from tfprune.graph import ChannelGroups


@runtime_checkable
class Criterion(Protocol):
    """Says how much each prunable unit of a model is worth.

    Attributes:
        name: Its name in the registry.
        uses_data: Whether it looks at data, see `DataUse`.
    """

    name: str
    uses_data: DataUse

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """One score for each prunable unit.

        Args:
            model: A functional or sequential model. It is not changed.
            groups: Its channel groups.
            data: Batches `(x, y)` or arrays, see `CriterionData`.

        Returns:
            Float64 `[groups.channels]`, higher is kept; NaN for units that the criterion cannot judge.
        """
        ...
