"""The size of weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfprune.criteria.weights.registry import register_weight_criterion
from tfprune.criteria.weights.weight_criterion import Scorer, Tensors, WeightCriterion


@register_weight_criterion("magnitude")
@dataclass(frozen=True, kw_only=True)
class Magnitude(WeightCriterion):
    """The absolute value of a weight.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="fc")])
        >>> Magnitude()(model, density=0.5).density
        0.5

    Reference:
        Han et al., Learning both Weights and Connections (NeurIPS 2015); at initialisation: Frankle et al., Pruning
        Neural Networks at Initialization: Why Are We Missing the Mark? (ICLR 2021).
    """

    def _scorer(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: Any) -> Scorer:
        scores = {name: tf.abs(tf.cast(weight.value, tf.float64)) for name, weight in weights.items()}

        def score(masks: Tensors) -> dict[str, tf.Tensor]:
            return scores

        return score
