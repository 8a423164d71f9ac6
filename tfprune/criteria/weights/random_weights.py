"""Chance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.weights.registry import register_weight_criterion
from tfprune.criteria.weights.weight_criterion import Scorer, Tensors, WeightCriterion


@register_weight_criterion("random")
@dataclass(frozen=True, kw_only=True)
class RandomWeights(WeightCriterion):
    """Random scores: what every other criterion has to beat.

    Attributes:
        seed: The same seed gives the same scores. A kernel's depend on the kernels before it.
    """

    seed: int = 0

    def _scorer(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: Any) -> Scorer:
        generator = np.random.default_rng(self.seed)
        scores = {name: tf.constant(generator.random(tuple(weight.shape))) for name, weight in weights.items()}

        def score(masks: Tensors) -> dict[str, tf.Tensor]:
            return scores

        return score
