"""The size of weights."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.channels.base import check_choice
from tfprune.criteria.weights.base import LayerCollapseWarning, Scorer, Tensors, WeightCriterion
from tfprune.criteria.weights.registry import register_weight_criterion
from tfprune.errors import ConfigError
from tfprune.graph import model_calls, prunable_weights
from tfprune.masks import Masks
from tfprune.ops.top_k import exact_top

Layers = Literal["convolutions", "all"]


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


@register_weight_criterion("lottery")
@dataclass(frozen=True, kw_only=True)
class Lottery(WeightCriterion):
    """One-shot pruning of a trained network by magnitude over all layers; the ticket is its masks and earlier weights.

    As in the original, dense layers keep all their weights, yet these count: the density is that of all prunable
    weights, convolutions or not.

    Attributes:
        layers: Prune `convolutions` only, or `all` layers (`Magnitude` in one step).
        original_quirks: Remove one weight more, and all that equal the threshold, as the original does.

    Reference:
        Frankle & Carbin, The Lottery Ticket Hypothesis (ICLR 2019); Su et al., Sanity-Checking Pruning Methods (NeurIPS
        2020), the authors' `LT_prune.py`.
    """

    layers: Layers = "convolutions"
    original_quirks: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("layers", self.layers, Layers)
        if self.iterations != 1 or self.scope != "global":
            raise ConfigError(
                f"criterion {self.name}: expected iterations=1 and scope='global', received {self.iterations} and "
                f"{self.scope!r}; train between prunings with tfprune.pruning.iterative, or use magnitude"
            )

    def __call__(
        self,
        model: keras.Model,
        density: float | None = None,
        data: Any = None,
        *,
        masks: Masks | None = None,
        kept: int | None = None,
    ) -> Masks:
        """Prunes, see `WeightCriterion`."""
        weights = prunable_weights(model, ignore=self.ignore)
        start = Masks.full(weights) if masks is None else masks
        start.check(weights)
        count = int(self._amounts(start, density, kept)[-1][0])
        pruned = self._pruned_names(model, weights)
        exempt = sum(start.counts[name][0] for name in weights if name not in pruned)
        left = count - exempt - self.original_quirks
        if not pruned or left < 0:
            raise ConfigError(
                f"density: expected to keep more than the {exempt:,} weights of layers that are not pruned, received "
                f"{count:,}; raise it, or set layers='all'"
            )
        scores = self._checked_scorer(model, {name: weights[name] for name in pruned}, data)({})
        chosen = {name: start[name] for name in start}
        chosen |= self._largest(scores, start, left)
        found = Masks(chosen)
        if found.collapsed:
            warnings.warn(LayerCollapseWarning(found.collapsed), stacklevel=2)
        return found

    def _largest(self, scores: Mapping[str, tf.Tensor], start: Masks, count: int) -> dict[str, np.ndarray]:
        flat = tf.concat([tf.reshape(tf.where(start[name], score, -1.0), [-1]) for name, score in scores.items()], 0)
        best = np.asarray(exact_top(flat, count))
        if self.original_quirks and not best.all():
            values = flat.numpy()
            best = best & (values > values[~best].max())
        ends = np.cumsum([start[name].size for name in scores])[:-1]
        parts = np.split(best, ends)
        return {name: part.reshape(start[name].shape) for name, part in zip(scores, parts, strict=True)}

    def _pruned_names(self, model: keras.Model, weights: Mapping[str, keras.Variable]) -> list[str]:
        dense = {
            call.name
            for call in model_calls(model)
            if isinstance(call.layer, keras.layers.Dense | keras.layers.EinsumDense)
        }
        return [name for name in weights if self.layers == "all" or name.rpartition("/")[0] not in dense]

    def _scorer(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: Any) -> Scorer:
        return Magnitude()._scorer(model, weights, data)


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
