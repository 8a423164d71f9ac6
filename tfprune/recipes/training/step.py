"""One optimizer step on one batch, on any number of replicas.

`GradientFunction` is the pure part of a step, which XLA can compile. `TrainingStep` updates after each batch;
`AccumulatedStep` sums the gradients of chunks first. `GradientProbe` returns the gradients of a step without training.
A replica is a device of the strategy.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from tfprune.arguments import instance, text
from tfprune.errors import check_choice
from tfprune.recipes.data.dataset import Batch
from tfprune.recipes.training.objectives import Metrics, Objective

Compile: TypeAlias = Literal["auto", "on", "off"]


class Gradients(NamedTuple):
    """Gradients and metrics of one evaluation of the objective."""

    gradients: list[tf.Tensor]
    metrics: Metrics
    new_values: list[tf.Tensor]
    """New values of the variables in `GradientFunction.updated`."""


class GradientFunction:
    """Gradients of the loss of a model, as a function that reads and writes no variable.

    XLA can compile such a function for several replicas, where a compiled function must neither use a variable (which
    may be on another device) nor a collective operation. The caller reads variables before and assigns them after it.

    Args:
        model: A built model.
        objective: The loss.
        global_batch_size: Divisor of the summed loss.
        parts: Parts of a batch (replicas times chunks). Regularization losses of the model are divided by it, because
            every part adds them.
        jit: Whether XLA compiles the function. Collective operations (synchronized batch norm) are then impossible.
    """

    def __init__(
        self, model: keras.Model, objective: Objective, *, global_batch_size: int, parts: int, jit: bool
    ) -> None:
        self._model = model
        self._objective = objective
        self._global_batch_size = global_batch_size
        self._parts = parts
        # Without XLA the function is not a graph of its own, in which collective operations would be impossible.
        self._compute = tf.function(self._gradients, jit_compile=True) if jit else self._gradients
        self._updated: list[int] = []

    def __call__(self, batch: Batch, loss_scale: tf.Tensor) -> Gradients:
        """Computes gradients at the current weights of the model.

        Args:
            batch: The part of the batch of this replica.
            loss_scale: Factor of the loss (mixed float16), otherwise 1. It scales the gradients, not the metrics.

        Returns:
            Gradients, metrics, and new values of the variables in `updated`.
        """
        trainable = [tf.convert_to_tensor(variable.value) for variable in self._model.trainable_variables]
        frozen = [tf.convert_to_tensor(variable.value) for variable in self._model.non_trainable_variables]
        return Gradients(*self._compute(trainable, frozen, batch, loss_scale))

    @property
    def updated(self) -> list[keras.Variable]:
        """Non-trainable variables that a training step changes; known after the function was traced.

        Masks, gates and the statistics of frozen layers are not among them, so they are neither copied nor reduced.
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


class TrainingStep:
    """Computes the gradients of a whole batch, then updates the weights.

    Args:
        model: The model, built in the scope of the strategy.
        optimizer: Its optimizer, built there, too.
        gradients: The pure part of the step.
        strategy: The devices; each one takes a part of the batch.
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
            chunks: The batch as the only element (per-replica values if there are several replicas).

        Returns:
            The metrics of the objective, summed over the replicas.
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
    """Returns the factor by which the optimizer scales the loss (mixed float16), otherwise 1."""
    return tf.convert_to_tensor(optimizer.scale_loss(tf.ones([])))


def same_overflow(optimizer: keras.optimizers.Optimizer, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Makes the gradients of all replicas non-finite if those of one are; called on each replica.

    Keras skips a step with a scaled loss if the gradients of one replica of a worker, before they are summed, are not
    finite. Workers that decide differently would wait for each other without end, and replicas would add non-finite
    gradients.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1 or not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return gradients
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
    overflows = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(~finite, tf.float32))
    factor = tf.where(overflows > 0, float("nan"), 1.0)
    return [gradient * tf.cast(factor, gradient.dtype) for gradient in gradients]


def assign_replica_means(variables: list[keras.Variable], values: list[tf.Tensor]) -> None:
    """Assigns new values, floating ones (batch statistics) as their mean over the replicas; called on each replica.

    Otherwise each replica would have its own statistics, and a checkpoint would contain those of the first.
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
    """Adds the (sum, count) pairs of all replicas."""
    return tf.nest.map_structure(lambda value: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None), metrics)


class AccumulatedStep:
    """Sums the gradients of a batch chunk by chunk, then updates the weights.

    The sum is the gradient of the whole batch up to rounding, except for batch norm, as in any gradient accumulation:
    its statistics are those of one chunk, and its moving averages are updated once per chunk.

    Args:
        model: The model, built in the scope of the strategy.
        optimizer: Its optimizer, built there, too.
        gradients: The pure part of the step.
        strategy: The devices; each one takes a part of every chunk.
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
            # Each replica adds to its own sum; the optimizer adds these once per step.
            self._sums = [
                tf.Variable(
                    tf.zeros(variable.shape, variable.dtype),
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.SUM,
                )
                for variable in model.trainable_variables
            ]
        # Chunks may differ by one row: one trace serves both sizes.
        self._add = tf.function(self._run_add, reduce_retracing=True)
        self._apply = tf.function(self._run_apply)

    def __call__(self, chunks: Sequence[Any]) -> Metrics:
        """Trains on a batch.

        Args:
            chunks: The chunks of the batch (per-replica values if there are several replicas).

        Returns:
            The metrics of the objective, summed over chunks and replicas.
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


class GradientProbe:
    """Computes the gradients of a training step, as its optimizer receives them, without training.

    Args:
        model: The model.
        optimizer: Its optimizer, which knows the loss scale of mixed float16.
        objective: The loss.
        batch: The batch; it must fit on one device.

    Example:
        >>> from tfprune.recipes.training import CrossEntropy
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> batch = {"images": tf.ones((2, 4)), "labels": tf.constant([0, 1])}
        >>> [gradient.shape[0] for gradient in GradientProbe(model, keras.optimizers.SGD(), CrossEntropy(), batch)()]
        [4, 3]
    """

    def __init__(
        self, model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective, batch: Batch
    ) -> None:
        examples = len(batch["labels"])
        self._gradients = GradientFunction(model, objective, global_batch_size=examples, parts=1, jit=False)
        self._optimizer = optimizer
        self._batch = batch
        self._compute = tf.function(self._unscaled)

    def __call__(self) -> list[tf.Tensor]:
        """Returns the gradients in the order of the trainable variables of the model; in float16 they may overflow."""
        return self._compute(self._batch, loss_scale(self._optimizer))

    def _unscaled(self, batch: Batch, scale: tf.Tensor) -> list[tf.Tensor]:
        return [gradient / tf.cast(scale, gradient.dtype) for gradient in self._gradients(batch, scale).gradients]


def uses_xla(setting: Compile, devices: tuple[str, ...]) -> bool:
    """Returns whether to compile a function for these devices by XLA.

    On CPUs XLA makes the training of convolutions two to four times slower; on GPUs it is faster.

    Args:
        setting: `"on"`, `"off"`, or `"auto"`: on if all devices are GPUs.
        devices: TensorFlow device names.

    Raises:
        ConfigError: There is no such setting.
    """
    check_choice("compile", setting, Compile)
    if setting != "auto":
        return setting == "on"
    return bool(devices) and all("gpu" in device.lower() for device in devices)


def default_devices() -> tuple[str, ...]:
    """Returns the device that TensorFlow uses by default."""
    return ("GPU:0",) if tf.config.list_logical_devices("GPU") else ("CPU:0",)


def loss_scaled(optimizer: keras.optimizers.Optimizer, precision: str) -> keras.optimizers.Optimizer:
    """Wraps an optimizer for mixed float16, where small gradients vanish unless the loss is scaled.

    Args:
        optimizer: The optimizer.
        precision: Data type policy of the layers, as in Keras.

    Returns:
        The optimizer; for `mixed_float16` in Keras' `LossScaleOptimizer`, which adapts the scale and skips steps whose
        gradients overflow.

    Example:
        >>> type(loss_scaled(keras.optimizers.SGD(), "mixed_float16")).__name__
        'LossScaleOptimizer'

    Reference:
        Micikevicius et al., "Mixed Precision Training" (ICLR 2018), section 3.2.
    """
    instance("optimizer", optimizer, keras.optimizers.Optimizer, "a Keras optimizer")
    precision = text("precision", precision)
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer
