"""Hybrid tickets: as many weights as the smart ratios say, the largest ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from tfprune.criteria.weights.magnitude import Magnitude
from tfprune.criteria.weights.registry import register_weight_criterion
from tfprune.criteria.weights.smart_ratio import SmartRatio
from tfprune.criteria.weights.weight_criterion import Scorer


@register_weight_criterion("hybrid")
@dataclass(frozen=True, kw_only=True)
class Hybrid(SmartRatio):
    """The counts of `SmartRatio`, and in each layer the weights of the largest magnitudes.

    In the paper the magnitudes are those of a trained network, whose weights are trained on with the learning rates of
    the beginning.

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), section 5; the authors' `--hybrid`.
    """

    def _scorer(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: Any) -> Scorer:
        return Magnitude()._scorer(model, weights, data)
