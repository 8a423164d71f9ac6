"""Gradients of the loss, summed over batches."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfprune.criteria.criterion_data import CriterionData
from tfprune.criteria.weights.batch_losses import BatchLosses
from tfprune.criteria.weights.scoring_model import ScoringModel

Tensors = Mapping[str, tf.Tensor]


def summed_gradients(
    model: keras.Model,
    names: list[str],
    data: Any,
    *,
    criterion: str,
    loss: Any,
    precision: str,
    batch_statistics: bool,
) -> tuple[ScoringModel, Callable[[Tensors], dict[str, tf.Tensor]]]:
    """Makes what sums the gradients of the batches' mean losses with respect to kernels.

    Args:
        model: The model. It is not changed.
        names: The kernels.
        data: Data as users give them.
        criterion: Name of the criterion that asks, for messages.
        loss: See `data_loss`.
        precision: What to compute in.
        batch_statistics: Let batch norms use the statistics of the batch.

    Returns:
        The copy that is computed on, and a function from masks to gradients by name. Pruned weights have gradients,
        too.

    Raises:
        ConfigError: There is no data, or no loss, that can be used.
    """
    source = CriterionData.required(data, criterion)
    scoring = ScoringModel(model, names, precision)
    losses = BatchLosses(model, scoring, source, loss=loss, batch_statistics=batch_statistics)
    traced: list[Callable[..., dict[str, tf.Tensor]]] = []

    def compute(masks: Tensors) -> dict[str, tf.Tensor]:
        kernels = scoring.values(masks)
        if not traced:
            traced.append(losses.traced(losses.gradients, kernels))
        total = {name: tf.zeros_like(kernel) for name, kernel in kernels.items()}
        for x, y in losses.batches():
            found = traced[0](kernels, x, y)
            total = {name: value + found[name] for name, value in total.items()}
        return total

    return scoring, compute
