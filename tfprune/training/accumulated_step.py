"""One optimizer step on a batch that is too large for the device."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfprune.training.gradient_function import GradientFunction
from tfprune.training.objective import Batch, Metrics
from tfprune.training.training_step import assign_replica_means, loss_scale, same_overflow, sum_over_replicas


class AccumulatedStep:
    """Gradients of a batch chunk by chunk, then one update.

    The summed gradient is that of the whole batch up to rounding, with one exception that all accumulation shares:
    batch norm sees one chunk at a time, so its statistics are those of chunks, and moving averages move once a chunk.

    Args:
        model: Built in the strategy's scope.
        optimizer: Built in the strategy's scope.
        gradients: The pure half of the step.
        strategy: Whose replicas each take a part of every chunk.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        gradients: GradientFunction,
        strategy: tf.distribute.Strategy,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._gradients = gradients
        self._strategy = strategy
        with strategy.scope():
            # Each replica adds to its own sum; they meet once a step, in the optimizer.
            self._sums = [
                tf.Variable(
                    tf.zeros(variable.shape, variable.dtype),
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.SUM,
                )
                for variable in model.trainable_variables
            ]
        # Chunks differ by a row where the batch does not divide: one trace serves both sizes.
        self._add = tf.function(self._run_add, reduce_retracing=True)
        self._apply = tf.function(self._run_apply)

    def __call__(self, chunks: Sequence[Any]) -> Metrics:
        """Trains on a batch given as its chunks.

        Returns:
            The objective's metrics, summed over chunks and replicas.
        """
        parts = [self._add(chunk) for chunk in chunks]
        self._apply()
        return tf.nest.map_structure(lambda *values: tf.add_n(values), *parts)

    def _run_add(self, chunk: Any) -> Metrics:
        return sum_over_replicas(self._strategy, self._strategy.run(self._replica_add, args=(chunk,)))

    def _replica_add(self, chunk: Batch) -> Metrics:
        gradients, metrics, new_values = self._gradients(chunk, loss_scale(self._optimizer))
        assign_replica_means(self._gradients.updated, new_values)
        for total, gradient in zip(self._sums, gradients, strict=True):
            total.assign_add(gradient)
        return metrics

    def _run_apply(self) -> None:
        self._strategy.run(self._replica_apply)

    def _replica_apply(self) -> None:
        sums = same_overflow(self._optimizer, [total.read_value() for total in self._sums])
        self._optimizer.apply(sums, self._model.trainable_variables)
        for total in self._sums:
            total.assign(tf.zeros_like(total))
