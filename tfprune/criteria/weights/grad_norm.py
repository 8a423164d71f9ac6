"""The size of gradients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfprune.criteria.weights.data_criterion import DataCriterion
from tfprune.criteria.weights.registry import register_weight_criterion
from tfprune.criteria.weights.summed_gradients import summed_gradients
from tfprune.criteria.weights.weight_criterion import Scorer, Tensors


@register_weight_criterion("grad_norm")
@dataclass(frozen=True, kw_only=True)
class GradNorm(DataCriterion):
    """The absolute gradient of the loss, `|dL/dw|`, for the sum over the batches: SNIP without the weight.

    Pruned weights have gradients, too, and come back with `revive`.

    Attributes:
        batch_statistics: Let batch norms use the statistics of the batch.

    Reference:
        The gradient norm as a proxy: Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS (ICLR 2021);
        single weights by gradient size: Evci et al., Rigging the Lottery (ICML 2020), where connections grow so.
    """

    batch_statistics: bool = False

    def _scorer(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: Any) -> Scorer:
        _, gradients = summed_gradients(
            model,
            list(weights),
            data,
            criterion=self.name,
            loss=self.loss,
            precision=self.precision,
            batch_statistics=self.batch_statistics,
        )

        def score(masks: Tensors) -> dict[str, tf.Tensor]:
            return {name: tf.abs(gradient) for name, gradient in gradients(masks).items()}

        return score
