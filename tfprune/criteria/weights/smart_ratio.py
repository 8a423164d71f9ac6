"""Random tickets: as many weights of each layer as a simple rule says, any of them."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.aggregation import check_choice
from tfprune.criteria.weights.layer_collapse import LayerCollapseWarning
from tfprune.criteria.weights.registry import register_weight_criterion
from tfprune.criteria.weights.smart_ratio_warning import SmartRatioWarning
from tfprune.criteria.weights.smart_ratios import Rule, SmartRatios, smart_ratios
from tfprune.criteria.weights.weight_criterion import Scorer, Tensors, WeightCriterion
from tfprune.errors import ConfigError
from tfprune.graph import adds_branches, main_path_order
from tfprune.masks import Masks, layer_generator

Treatment = Literal["auto", "chain", "residual"]


@register_weight_criterion("smart_ratio")
@dataclass(frozen=True, kw_only=True)
class SmartRatio(WeightCriterion):
    """Keeps ever less of later layers by a rule that looks at nothing but their places and sizes; which weights, is
    drawn at random.

    Layers are numbered as `main_path_order` has them; the last one is the classifier. What a layer would get above all
    its weights goes to others; `SmartRatioWarning` tells if not all of it found a place.

    Attributes:
        rule: How the ratio falls from layer to layer, see `smart_ratios`.
        treatment: `chain` divides the rule by the square of the layer's place, as the authors do for VGG; `residual`
            does not. Default: `residual` where the model adds tensors up.
        last_ratio: Fraction of the classifier that is kept.
        original_quirks: Lose what later layers have too much, as the original does.
        seed: Seed of the draws.

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), section 4.
    """

    rule: Rule = "quadratic"
    treatment: Treatment = "auto"
    last_ratio: float = 0.3
    original_quirks: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("rule", self.rule, Rule)
        check_choice("treatment", self.treatment, Treatment)
        if not 0 <= self.last_ratio <= 1:
            raise ConfigError(f"last_ratio: expected a fraction from 0 to 1, received {self.last_ratio!r}")
        self._refuse(iterations=1, scope="global", original_ties=False, revive=False)

    def ratios(self, model: keras.Model, density: float) -> dict[str, tuple[float, int]]:
        """The fraction and the number of weights that each layer keeps, by the name of its weight, in the rule's order.

        Args:
            model: A functional or sequential model, built.
            density: Fraction of all prunable weights to keep.

        Raises:
            ConfigError: The density cannot be met at all, see `smart_ratios`.
        """
        weights = main_path_order(model, ignore=self.ignore)
        found = self._found(model, weights, density)
        return {
            name: (float(ratio), int(count))
            for name, ratio, count in zip(weights, found.ratios, found.counts, strict=True)
        }

    def __call__(
        self,
        model: keras.Model,
        density: float | None = None,
        data: Any = None,
        *,
        masks: Masks | None = None,
        kept: int | None = None,
    ) -> Masks:
        """Prunes, see `WeightCriterion`; `kept` cannot be given."""
        if density is None or kept is not None:
            raise ConfigError(f"criterion {self.name}: expected a density, received none or a number of weights")
        weights = main_path_order(model, ignore=self.ignore)
        found = self._found(model, weights, density)
        if found.missing:
            warnings.warn(SmartRatioWarning(density, int(found.counts.sum()), list(weights)), stacklevel=2)
        start = Masks.full(weights) if masks is None else masks
        start.check(weights)
        scores = self._checked_scorer(model, weights, data)({name: tf.constant(start[name]) for name in weights})
        counts = dict(zip(weights, found.counts, strict=True))
        chosen = {name: _best(name, np.asarray(scores[name]), start[name], int(counts[name])) for name in start}
        result = Masks(chosen)
        if result.collapsed:
            warnings.warn(LayerCollapseWarning(result.collapsed), stacklevel=2)
        return result

    def _found(self, model: keras.Model, weights: Mapping[str, keras.Variable], density: float) -> SmartRatios:
        chain = not adds_branches(model) if self.treatment == "auto" else self.treatment == "chain"
        return smart_ratios(
            [int(np.prod(weight.shape)) for weight in weights.values()],
            density,
            rule=self.rule,
            divide_by_square=chain,
            last_ratio=self.last_ratio,
            original_quirks=self.original_quirks,
        )

    def _scorer(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: Any) -> Scorer:
        scores = {
            name: tf.constant(layer_generator(self.seed, name).random(tuple(weight.shape)))
            for name, weight in weights.items()
        }

        def score(masks: Tensors) -> dict[str, tf.Tensor]:
            return scores

        return score


def _best(name: str, scores: np.ndarray, mask: np.ndarray, count: int) -> np.ndarray:
    """Marks the `count` best that are still there; of equal ones those that come first."""
    there = np.flatnonzero(mask)
    if len(there) < count:
        raise ConfigError(
            f"masks: expected at least {count} weights of {name}, as the rule keeps so many, received {len(there)}; "
            "leave out masks="
        )
    best = there[np.argsort(-scores.ravel()[there], kind="stable")[:count]]
    chosen = np.zeros(mask.size, bool)
    chosen[best] = True
    return chosen.reshape(mask.shape)
