"""The scores that a criterion gives."""

from typing import Any

import keras
import numpy as np

from tfprune import criteria
from tfprune.criteria.criterion_data import refuse_unused_data
from tfprune.errors import ConfigError
from tfprune.graph import ChannelGroups


class Scorer:
    """A criterion with its data.

    Args:
        criterion: Its name, or an object with a method `scores(model, groups, data)`.
        data: What it may look at.

    Raises:
        ConfigError: There is no such criterion, or it does not look at data and there are some.
    """

    def __init__(self, criterion: Any, data: Any = None) -> None:
        self._criterion = criteria.get(criterion)
        refuse_unused_data(self._criterion, data)
        self._data = data

    @property
    def name(self) -> str:
        """What the criterion is called."""
        return str(getattr(self._criterion, "name", type(self._criterion).__name__))

    def scores(self, model: keras.Model, groups: ChannelGroups) -> np.ndarray:
        """One score for each prunable unit, float64 `[channels]`; `ConfigError` if there are others."""
        scores = np.asarray(self._criterion.scores(model, groups, self._data), np.float64)
        if scores.shape != (groups.channels,):
            raise ConfigError(
                f"criterion {self.name}: expected one score per prunable unit, of shape ({groups.channels},), "
                f"received shape {scores.shape}"
            )
        return scores
