"""Preserving the flow of gradients."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
import tensorflow as tf

from tfprune.criteria.base import CriterionData
from tfprune.criteria.channels.base import check_choice
from tfprune.criteria.weights.base import Scorer, Tensors
from tfprune.criteria.weights.gradient import BatchLosses, DataCriterion
from tfprune.criteria.weights.registry import register_weight_criterion
from tfprune.criteria.weights.scoring_model import ScoringModel
from tfprune.errors import ConfigError
from tfprune.keras_private import flat_layers

Variant = Literal["wang", "peekaboo"]


@register_weight_criterion("grasp")
@dataclass(frozen=True, kw_only=True)
class GraSP(DataCriterion):
    """Weights without which the gradient would get smaller, by `w * Hg`: the gradient g, summed over batches, and the
    Hessian H of the loss.

    There are two published ways; each of the settings can be chosen by itself, too.

    - `wang`, the authors' own: batch norms use the statistics of the batch, each batch is taken in two halves (its
      examples should be as many of each class, sorted by class), and the kernels of dense layers are drawn anew, for
      the scores only, after Glorot.
    - `peekaboo`: batch norms run on their moving averages, which say nothing before training, and each batch is taken
      whole. On a ResNet-20 it finds far worse networks (README, "Pruning before training").

    Attributes:
        variant: Which of the two.
        temperature: Divides the logits.
        batch_statistics: Let batch norms use the statistics of the batch. Default: as the variant has it.
        parts: Take each batch in so many parts. Default: as the variant has it.
        redraw_dense: Draw the kernels of dense layers anew. Default: as the variant has it.
        seed: Seed of what is drawn.

    Reference:
        Wang et al., Picking Winning Tickets Before Training by Preserving Gradient Flow (ICLR 2020), equation 8 and
        algorithm 2; Chen et al., Peek-a-Boo (ICLR 2022), the authors' `GraSP`.
    """

    variant: Variant = "wang"
    temperature: float = 200.0
    batch_statistics: bool | None = None
    parts: int | None = None
    redraw_dense: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("variant", self.variant, Variant)
        if not self.temperature > 0:
            raise ConfigError(f"temperature: expected a number above 0, received {self.temperature!r}")
        if self.parts is not None and self.parts < 1:
            raise ConfigError(f"parts: expected 1 or more, received {self.parts!r}")

    def _scorer(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: Any) -> Scorer:
        source = CriterionData.required(data, self.name)
        scoring = ScoringModel(model, list(weights), self.precision)
        authors = self.variant == "wang"
        if authors if self.redraw_dense is None else self.redraw_dense:
            _redraw(scoring, self.seed)
        losses = BatchLosses(
            model,
            scoring,
            source,
            loss=self.loss,
            temperature=self.temperature,
            batch_statistics=authors if self.batch_statistics is None else self.batch_statistics,
            parts=self.parts or (2 if authors else 1),
        )
        traced: list[Callable[..., dict[str, tf.Tensor]]] = []

        def score(masks: Tensors) -> dict[str, tf.Tensor]:
            kernels = scoring.values(masks)
            if not traced:
                traced.append(losses.traced(losses.gradients, kernels))
                traced.append(losses.traced(lambda *args: hessian_product(losses, *args), kernels, kernels))
            first, second = traced
            gradient = _masked(_sum(first(kernels, x, y) for x, y in losses.batches()), masks)
            product = _sum(second(gradient, kernels, x, y) for x, y in losses.batches())
            return {name: kernel * product[name] for name, kernel in kernels.items()}  # 0 where pruned

        return score


def hessian_product(losses: BatchLosses, vector: Tensors, kernels: Tensors, x: Any, y: Any) -> dict[str, tf.Tensor]:
    """The Hessian of a batch's loss times a vector, by differentiating twice.

    Args:
        losses: The loss.
        vector: By name, like `kernels`.
        kernels: Where to take the Hessian.
        x: Inputs of the batch.
        y: Its labels.

    Returns:
        The product by name.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(kernels)
        gradients = losses.gradients(kernels, x, y)
        along = tf.add_n([tf.reduce_sum(vector[name] * gradient) for name, gradient in gradients.items()])
    return tape.gradient(along, kernels, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def _redraw(scoring: ScoringModel, seed: int) -> None:
    """Gives dense layers of the copy new kernels."""
    dense = {
        id(layer.kernel)
        for layer in flat_layers(scoring.model)
        if isinstance(layer, keras.layers.Dense) and layer.built
    }
    for index, variable in enumerate(scoring.kernels.values()):
        if id(variable) in dense:
            # In float64 whatever the precision, which would draw other numbers.
            variable.assign(keras.initializers.GlorotNormal(seed + index)(variable.shape, "float64"))


def _sum(parts: Any) -> dict[str, tf.Tensor]:
    total: dict[str, tf.Tensor] = {}
    for part in parts:
        total = {name: total[name] + value if total else value for name, value in part.items()}
    return total


def _masked(values: Tensors, masks: Tensors) -> dict[str, tf.Tensor]:
    return {name: tf.where(masks[name], value, tf.zeros_like(value)) for name, value in values.items()}
