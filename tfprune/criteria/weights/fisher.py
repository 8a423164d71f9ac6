"""What removing a weight costs by the Fisher information."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfprune.criteria.criterion_data import CriterionData
from tfprune.criteria.weights.batch_losses import BatchLosses
from tfprune.criteria.weights.data_criterion import DataCriterion
from tfprune.criteria.weights.registry import register_weight_criterion
from tfprune.criteria.weights.scoring_model import ScoringModel
from tfprune.criteria.weights.weight_criterion import Scorer, Tensors


@register_weight_criterion("fisher")
@dataclass(frozen=True, kw_only=True)
class Fisher(DataCriterion):
    """Half the squared weight times its entry of the empirical Fisher matrix, the mean square of examples' gradients.

    The gradients are taken example by example, as squares of sums over batches would be something else: as many
    backward passes as there are examples.

    Reference:
        Theis et al., Faster gaze prediction with dense networks and Fisher pruning (2018), equation 8, for single
        weights; the diagonal approximation is that of LeCun et al., Optimal Brain Damage (NeurIPS 1989).
    """

    def _scorer(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: Any) -> Scorer:
        scoring = ScoringModel(model, list(weights), self.precision)
        losses = BatchLosses(model, scoring, CriterionData.required(data, self.name), loss=self.loss)
        traced: list[Callable[..., dict[str, tf.Tensor]]] = []

        def score(masks: Tensors) -> dict[str, tf.Tensor]:
            kernels = scoring.values(masks)
            if not traced:
                traced.append(losses.traced(lambda *arguments: _squares(losses, *arguments), kernels))
            total = {name: tf.zeros_like(kernel) for name, kernel in kernels.items()}
            examples = 0
            for x, y in losses.batches():
                found = traced[0](kernels, x, y)
                total = {name: value + found[name] for name, value in total.items()}
                examples += len(keras.tree.flatten(y)[0])
            return {name: kernels[name] ** 2 * value / (2 * examples) for name, value in total.items()}

        return score


def _squares(losses: BatchLosses, kernels: Tensors, x: Any, y: Any) -> dict[str, tf.Tensor]:
    """Squared gradients of single examples, summed."""
    names = list(kernels)

    def add(row: tf.Tensor, *totals: tf.Tensor) -> tuple[tf.Tensor, ...]:
        one_x, one_y = keras.tree.map_structure(lambda leaf: leaf[row : row + 1], (x, y))
        found = losses.gradients(kernels, one_x, one_y)
        return row + 1, *(total + tf.square(found[name]) for name, total in zip(names, totals, strict=True))

    rows = tf.shape(keras.tree.flatten(y)[0])[0]
    start = (tf.constant(0), *(tf.zeros_like(kernels[name]) for name in names))
    _, *totals = tf.while_loop(lambda row, *_: row < rows, add, start, parallel_iterations=1)
    return dict(zip(names, totals, strict=True))
