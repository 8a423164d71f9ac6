"""Criteria by the size of weights, and random scores to compare them with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.data import CriterionData
from tfprune.criteria.weights.criterion import Tensors, WeightCriterion, register_weight_criterion
from tfprune.criteria.weights.selection import summary
from tfprune.errors import ConfigError, check_choice
from tfprune.graph import model_calls, prunable_weights
from tfprune.layers.kernels import prunable_kernels
from tfprune.masks import Masks
from tfprune.ops.top_k import exact_top

Layers = Literal["convolutions", "all"]


@register_weight_criterion("magnitude")
@dataclass(frozen=True, kw_only=True)
class Magnitude(WeightCriterion):
    """Absolute value of a weight.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="fc")])
        >>> Magnitude()(model, density=0.5).density
        0.5

    Reference:
        Han et al., Learning both Weights and Connections (NeurIPS 2015); at initialization: Frankle et al., Pruning
        Neural Networks at Initialization: Why Are We Missing the Mark? (ICLR 2021).
    """

    def scores(self, model: keras.Model, masks: Tensors, data: CriterionData | None = None) -> dict[str, tf.Tensor]:
        """Scores the weights, see `WeightCriterion.scores`."""
        return self.once("magnitudes", lambda: magnitudes(model, masks))


def magnitudes(model: keras.Model, names: Mapping[str, object]) -> dict[str, tf.Tensor]:
    """Returns the absolute values of weights by name, float64."""
    weights = prunable_weights(model)
    return {name: tf.abs(tf.cast(weights[name].value, tf.float64)) for name in names}


@register_weight_criterion("lottery")
@dataclass(frozen=True, kw_only=True)
class Lottery(WeightCriterion):
    """Absolute value of a weight; dense layers are not pruned.

    One-shot pruning of a trained model; the ticket is its masks and earlier weights. As in the authors' code, dense
    layers keep all their weights, yet these count: the density is that of all prunable weights.

    Attributes:
        layers: Prune `convolutions` only, or `all` layers (`Magnitude` in one step).
        original_quirks: Remove one weight more, and all that equal the threshold, as the authors' code does.

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

    def scores(self, model: keras.Model, masks: Tensors, data: CriterionData | None = None) -> dict[str, tf.Tensor]:
        """Scores the weights, see `WeightCriterion.scores`."""
        return magnitudes(model, masks)

    def _choose(
        self, model: keras.Model, start: Masks, counts: np.ndarray, data: CriterionData | None
    ) -> dict[str, np.ndarray]:
        count = int(counts[-1][0])
        pruned = self._pruned_names(model, start)
        exempt = sum(start.counts[name][0] for name in start if name not in pruned)
        remaining = count - exempt - self.original_quirks
        if not pruned or remaining < 0:
            raise ConfigError(
                f"density: expected to keep more than the {exempt:,} weights of layers that are not pruned, received "
                f"{count:,}; raise it, or set layers='all'"
            )
        scores = self._checked_scores(model, {name: tf.constant(start[name]) for name in pruned}, data)
        self._check_scores(summary(scores).numpy(), list(scores))
        self._give_scores(scores)
        return {name: start[name] for name in start} | self._largest(scores, start, remaining)

    def _largest(self, scores: Mapping[str, tf.Tensor], start: Masks, count: int) -> dict[str, np.ndarray]:
        flat = tf.concat([tf.reshape(tf.where(start[name], score, -1.0), [-1]) for name, score in scores.items()], 0)
        best = np.asarray(exact_top(flat, count))
        if self.original_quirks and not best.all():
            values = flat.numpy()
            best = best & (values > values[~best].max())
        ends = np.cumsum([start[name].size for name in scores])[:-1]
        parts = np.split(best, ends)
        return {name: part.reshape(start[name].shape) for name, part in zip(scores, parts, strict=True)}

    def _pruned_names(self, model: keras.Model, names: Masks) -> list[str]:
        dense = {
            f"{call.name}/{path}"
            for call in model_calls(model)
            for path, held in prunable_kernels(call.layer).items()
            if isinstance(held.layer, keras.layers.Dense | keras.layers.EinsumDense)
        }
        return [name for name in names if self.layers == "all" or name not in dense]


@register_weight_criterion("random")
@dataclass(frozen=True, kw_only=True)
class RandomWeights(WeightCriterion):
    """Random scores, the baseline of every other criterion.

    Attributes:
        seed: The same seed gives the same scores. A kernel's depend on the kernels before it.
    """

    seed: int = 0

    def scores(self, model: keras.Model, masks: Tensors, data: CriterionData | None = None) -> dict[str, tf.Tensor]:
        """Scores the weights, see `WeightCriterion.scores`."""
        generator = np.random.default_rng(self.seed)
        return {name: tf.constant(generator.random(tuple(mask.shape))) for name, mask in masks.items()}
