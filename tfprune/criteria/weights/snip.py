"""How much the loss depends on whether a weight is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfprune.criteria.weights.data_criterion import DataCriterion
from tfprune.criteria.weights.registry import register_weight_criterion
from tfprune.criteria.weights.summed_gradients import summed_gradients
from tfprune.criteria.weights.weight_criterion import Scorer, Tensors


@register_weight_criterion("snip")
@dataclass(frozen=True, kw_only=True)
class SNIP(DataCriterion):
    """The absolute derivative of the loss by a weight's mask, `|w * dL/d(mask w)|`, for the sum over the batches.

    The originals divide by the sum of all scores, which changes no order.

    Attributes:
        batch_statistics: Let batch norms use the statistics of the batch.

    Reference:
        Lee et al., SNIP: Single-shot Network Pruning based on Connection Sensitivity (ICLR 2019), equation 6;
        with several iterations: de Jorge et al., Progressive Skeletonization (ICLR 2021), there with `revive`: FORCE.
    """

    batch_statistics: bool = False

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
            return {name: tf.abs(kernel.value * found[name]) for name, kernel in scoring.kernels.items()}

        return score
