"""One optimizer step on one batch, on any number of replicas."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfprune.training.gradient_function import GradientFunction
from tfprune.training.objective import Batch, Metrics


class TrainingStep:
    """Gradients of a whole batch, then one update.

    Args:
        model: Built in the strategy's scope.
        optimizer: Built in the strategy's scope.
        gradients: The pure half of the step.
        strategy: Whose replicas each take a part of the batch.
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
        self._step = tf.function(self._run, reduce_retracing=True)

    def __call__(self, chunks: Sequence[Any]) -> Metrics:
        """Trains on a batch.

        Args:
            chunks: The batch as the only element (per-replica values under several replicas).

        Returns:
            The objective's metrics, summed over the replicas.
        """
        (batch,) = chunks
        return self._step(batch)

    def _run(self, batch: Any) -> Metrics:
        metrics = self._strategy.run(self._replica_step, args=(batch,))
        return sum_over_replicas(self._strategy, metrics)

    def _replica_step(self, batch: Batch) -> Metrics:
        gradients, metrics, new_values = self._gradients(batch, loss_scale(self._optimizer))
        assign_replica_means(self._gradients.updated, new_values)
        # Keras sums the gradients over the replicas itself.
        self._optimizer.apply(same_overflow(self._optimizer, gradients), self._model.trainable_variables)
        return metrics


def loss_scale(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    """The factor by which the optimizer wants the loss multiplied (mixed float16), else 1."""
    return tf.convert_to_tensor(optimizer.scale_loss(tf.ones([])))


def same_overflow(optimizer: keras.optimizers.Optimizer, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Gradients that overflow on every replica if they do on one, called on each replica.

    Whether to take a step with a scaled loss, Keras decides by the gradients of one replica of a worker, before their
    sum. Workers that decide differently would wait for each other for ever, and replicas would take in what is not
    finite.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1 or not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return gradients
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
    overflows = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(~finite, tf.float32))
    factor = tf.where(overflows > 0, float("nan"), 1.0)
    return [gradient * tf.cast(factor, gradient.dtype) for gradient in gradients]


def assign_replica_means(variables: list[keras.Variable], values: list[tf.Tensor]) -> None:
    """Assigns new values; floating ones (batch statistics) as their mean over the replicas, called on each replica.

    Without it each replica would keep statistics of its own, and a checkpoint would hold those of the first.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync > 1:
        means = [index for index, value in enumerate(values) if value.dtype.is_floating]
        reduced = context.all_reduce(tf.distribute.ReduceOp.MEAN, [values[index] for index in means]) if means else []
        values = list(values)
        for index, mean in zip(means, reduced, strict=True):
            values[index] = mean
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def sum_over_replicas(strategy: tf.distribute.Strategy, metrics: Metrics) -> Metrics:
    """Adds up (sum, count) pairs of all replicas."""
    return tf.nest.map_structure(lambda value: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None), metrics)
