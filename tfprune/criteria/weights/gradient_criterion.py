"""What criteria for weights that look at the gradient of the loss have in common."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfprune.criteria.weights.data_criterion import DataCriterion
from tfprune.criteria.weights.summed_gradients import summed_gradients
from tfprune.criteria.weights.weight_criterion import Scorer, Tensors


@dataclass(frozen=True, kw_only=True)
class GradientCriterion(DataCriterion):
    """A criterion that scores a weight by itself and by the gradient of the loss, summed over the batches.

    Attributes:
        batch_statistics: Let batch norms use the statistics of the batch.
    """

    batch_statistics: bool = False

    @abstractmethod
    def _score(self, kernel: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        """The scores of a weight of the same shape."""

    def _scorer(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: Any) -> Scorer:
        scoring, gradients = summed_gradients(
            model,
            list(weights),
            data,
            criterion=self.name,
            loss=self.loss,
            precision=self.precision,
            batch_statistics=self.batch_statistics,
        )

        def score(masks: Tensors) -> dict[str, tf.Tensor]:
            found = gradients(masks)
            return {name: self._score(kernel.value, found[name]) for name, kernel in scoring.kernels.items()}

        return score
