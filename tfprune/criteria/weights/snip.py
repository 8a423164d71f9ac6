"""How much the loss depends on whether a weight is there."""

from dataclasses import dataclass

import tensorflow as tf

from tfprune.criteria.weights.gradient_criterion import GradientCriterion
from tfprune.criteria.weights.registry import register_weight_criterion


@register_weight_criterion("snip")
@dataclass(frozen=True, kw_only=True)
class SNIP(GradientCriterion):
    """The absolute derivative of the loss by a weight's mask, `|w * dL/d(mask w)|`, for the sum over the batches.

    The originals divide by the sum of all scores, which changes no order.

    Reference:
        Lee et al., SNIP: Single-shot Network Pruning based on Connection Sensitivity (ICLR 2019), equation 6;
        with several iterations: de Jorge et al., Progressive Skeletonization (ICLR 2021), there with `revive`: FORCE.
    """

    def _score(self, kernel: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        return tf.abs(kernel * gradient)
