"""One optimizer step on one batch, on any number of replicas."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.recipes.training.objectives import Batch, Metrics, Objective

Compile: TypeAlias = Literal["auto", "on", "off"]


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


class GradientProbe:
    """Gradients as a training step has them before its optimizer sees them; nothing is trained.

    Args:
        network: What is trained.
        optimizer: What trains it: in float16 it knows by what the loss has to be multiplied.
        objective: What is minimised.
        batch: The batch; it goes through one device at once.

    Example:
        >>> from tfprune.recipes.training import CrossEntropy
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> batch = {"images": tf.ones((2, 4)), "labels": tf.constant([0, 1])}
        >>> [gradient.shape[0] for gradient in GradientProbe(model, keras.optimizers.SGD(), CrossEntropy(), batch)()]
        [4, 3]
    """

    def __init__(
        self, network: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective, batch: Batch
    ) -> None:
        examples = len(batch["labels"])
        self._gradients = GradientFunction(network, objective, global_batch_size=examples, parts=1, jit=False)
        self._optimizer = optimizer
        self._batch = batch
        self._compute = tf.function(self._unscaled)

    def __call__(self) -> list[tf.Tensor]:
        """Gradients in the order of the network's trainable variables; in float16 they may overflow."""
        return self._compute(self._batch, loss_scale(self._optimizer))

    def _unscaled(self, batch: Batch, scale: tf.Tensor) -> list[tf.Tensor]:
        return [gradient / tf.cast(scale, gradient.dtype) for gradient in self._gradients(batch, scale).gradients]


def uses_xla(setting: Compile, devices: tuple[str, ...]) -> bool:
    """Whether a function for these devices is to be compiled by XLA.

    On CPUs XLA makes the training of convolutions two to four times slower, on GPUs it is the point.

    Args:
        setting: `"on"`, `"off"`, or `"auto"`: on where all devices are GPUs.
        devices: TensorFlow device names.

    Raises:
        ConfigError: If the setting is none of the three.
    """
    if setting not in ("auto", "on", "off"):
        raise ConfigError(f"compile: expected auto, on or off, received {setting!r}")
    if setting != "auto":
        return setting == "on"
    return bool(devices) and all("gpu" in device.lower() for device in devices)


def default_devices() -> tuple[str, ...]:
    """The device that TensorFlow picks when nobody asks for one."""
    return ("GPU:0",) if tf.config.list_logical_devices("GPU") else ("CPU:0",)


def loss_scaled(optimizer: keras.optimizers.Optimizer, precision: str) -> keras.optimizers.Optimizer:
    """What trains a network of a number format: in float16 small gradients vanish unless the loss is scaled up.

    Args:
        optimizer: What trains it otherwise.
        precision: Keras' data type policy of the layers.

    Returns:
        The optimizer; for `mixed_float16` inside Keras' `LossScaleOptimizer`, which finds the scale, and leaves out
        steps whose gradients overflow.

    Example:
        >>> loss_scaled(keras.optimizers.SGD(), "mixed_float16").name
        'loss_scale_optimizer'

    Reference:
        Micikevicius et al., "Mixed Precision Training" (ICLR 2018), section 3.2.
    """
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer
