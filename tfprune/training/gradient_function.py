"""The pure half of a training step: variables in, gradients out."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfprune.training.objective import Batch, Metrics, Objective


class Gradients(NamedTuple):
    """What one evaluation of the objective gives."""

    gradients: list[tf.Tensor]
    metrics: Metrics
    new_values: list[tf.Tensor]
    """New values of the variables that `GradientFunction.updated` names."""


class GradientFunction:
    """Loss gradient of a model as a function that reads and writes no variable.

    That is what XLA can compile anywhere: with several replicas, a compiled function must neither touch a variable
    (it may live on another device) nor call a collective. The caller reads variables before and assigns them after.

    Args:
        model: A built model.
        objective: The loss.
        global_batch_size: What the summed loss is divided by.
        parts: Into how many parts (replicas times chunks) a batch is cut: the model's own regularisation losses are
            divided by it, as every part contributes them.
        jit: Whether XLA compiles the function. Collectives (synchronized batch norm) are then impossible.
    """

    def __init__(
        self, model: keras.Model, objective: Objective, *, global_batch_size: int, parts: int, jit: bool
    ) -> None:
        self._model = model
        self._objective = objective
        self._global_batch_size = global_batch_size
        self._parts = parts
        # Without XLA the function stays inline: a nested graph would only forbid collectives.
        self._compute = tf.function(self._gradients, jit_compile=True) if jit else self._gradients
        self._updated: list[int] = []

    def __call__(self, batch: Batch, loss_scale: tf.Tensor) -> Gradients:
        """Gradients at the model's present weights.

        Args:
            batch: This replica's part of the batch.
            loss_scale: Factor of the loss (mixed float16); 1 otherwise. It is in the gradients, not in the metrics.
        """
        trainable = [tf.convert_to_tensor(variable.value) for variable in self._model.trainable_variables]
        frozen = [tf.convert_to_tensor(variable.value) for variable in self._model.non_trainable_variables]
        return Gradients(*self._compute(trainable, frozen, batch, loss_scale))

    @property
    def updated(self) -> list[keras.Variable]:
        """The non-trainable variables that a training step changes (known once the function was traced).

        Masks, gates and the statistics of frozen layers are not among them: they need neither copies nor reductions.
        """
        variables = self._model.non_trainable_variables
        return [variables[index] for index in self._updated]

    def _gradients(
        self, trainable: Sequence[tf.Tensor], frozen: Sequence[tf.Tensor], batch: Batch, loss_scale: tf.Tensor
    ) -> tuple[list[tf.Tensor], Metrics, list[tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trainable)
            logits, values, penalties = self._model.stateless_call(
                trainable, frozen, self._objective.inputs(batch), training=True, return_losses=True
            )
            loss, metrics = self._objective(tf.cast(logits, tf.float32), batch)
            loss = loss / self._global_batch_size
            if penalties:
                loss += tf.add_n([tf.cast(penalty, tf.float32) for penalty in penalties]) / self._parts
            loss *= loss_scale
        gradients = tape.gradient(loss, trainable, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        self._updated = [i for i, (old, new) in enumerate(zip(frozen, values, strict=True)) if new is not old]
        return [tf.convert_to_tensor(g) for g in gradients], metrics, [values[i] for i in self._updated]
