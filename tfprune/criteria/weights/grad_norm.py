"""The size of gradients."""

from dataclasses import dataclass

import tensorflow as tf

from tfprune.criteria.weights.gradient_criterion import GradientCriterion
from tfprune.criteria.weights.registry import register_weight_criterion


@register_weight_criterion("grad_norm")
@dataclass(frozen=True, kw_only=True)
class GradNorm(GradientCriterion):
    """The absolute gradient of the loss, `|dL/dw|`, for the sum over the batches: SNIP without the weight.

    Pruned weights have gradients, too, and come back with `revive`.

    Reference:
        The gradient norm as a proxy: Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS (ICLR 2021);
        single weights by gradient size: Evci et al., Rigging the Lottery (ICML 2020), where connections grow so.
    """

    def _score(self, kernel: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        return tf.abs(gradient)
