"""The training loop that all methods share.

`Loop` trains a model on an objective: it cuts batches into chunks and into the shares of devices and workers, compiles
one step, and runs whole trainings that can be interrupted and resumed.
"""

from collections.abc import Callable
from itertools import pairwise

import keras
import tensorflow as tf

from tfprune.arguments import instance, optional, whole_number
from tfprune.errors import ConfigError
from tfprune.keras_private import flat_layers
from tfprune.recipes.data.dataset import Batch
from tfprune.recipes.training.fit import Fit, WeightNumbers
from tfprune.recipes.training.objectives import Metrics, Objective
from tfprune.recipes.training.run_folder import Row, RunFolder
from tfprune.recipes.training.step import (
    AccumulatedStep,
    Compile,
    GradientFunction,
    TrainingStep,
    default_devices,
    uses_xla,
)
from tfprune.recipes.training.strategy import collective_errors
from tfprune.recipes.training.workers import Workers


class Loop:
    """Trains a model on an objective: compiled, on any number of devices and workers, with accumulation, resumable.

    Several workers (see `make_strategy`) run the same program; only the first one, the chief, writes files and prints.

    Args:
        model: A built model, from `strategy.scope()`.
        optimizer: A Keras optimizer, from `strategy.scope()`.
        objective: The loss.
        global_batch_size: Examples of a whole batch; summed losses are divided by it.
        strategy: The devices. Default: the strategy in scope.
        compile: XLA: on, off, or auto (on if all devices are GPUs; off with synchronized batch norm on several).
        accumulate: Chunks that each batch is cut into; their gradients are summed before the update. Batch norm
            normalizes each chunk by itself, as in any gradient accumulation. The product of devices and chunks must
            divide the batch size.

    Attributes:
        workers: The processes that train.
        rows: Positions within a batch of the examples that this worker trains on; None for all.

    Raises:
        ConfigError: The settings contradict each other.
        WorkerError: Another worker stopped.

    Example:
        >>> from tfprune.recipes.training import CrossEntropy
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> loop = Loop(model, keras.optimizers.SGD(0.1), CrossEntropy(), global_batch_size=2)
        >>> sorted(loop.train_step({"images": tf.ones((2, 4)), "labels": tf.constant([0, 1])}))
        ['accuracy', 'loss']
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        objective: Objective,
        *,
        global_batch_size: int,
        strategy: tf.distribute.Strategy | None = None,
        compile: Compile = "auto",
        accumulate: int = 1,
    ) -> None:
        self.model = instance("model", model, keras.Model, "a Keras model")
        self.optimizer = instance("optimizer", optimizer, keras.optimizers.Optimizer, "a Keras optimizer")
        optional(instance, "strategy", strategy, kind=tf.distribute.Strategy, words="a strategy of TensorFlow")
        self.strategy = strategy or tf.distribute.get_strategy()
        self.accumulate = accumulate = whole_number("accumulate", accumulate)
        self._replicas = self.strategy.num_replicas_in_sync
        self._global_batch_size = global_batch_size = whole_number("global_batch_size", global_batch_size)
        self.workers = Workers(self.strategy)
        parts = accumulate * self._replicas
        if parts > 1:
            check_parts(global_batch_size, chunks=accumulate, replicas=self._replicas)
        self.rows = self._own_rows() if self.workers.count > 1 else None
        gradients = GradientFunction(
            model, objective, global_batch_size=global_batch_size, parts=parts, jit=self._resolve_jit(compile)
        )
        step_class = TrainingStep if accumulate == 1 else AccumulatedStep
        with self.workers.scope():
            if not optimizer.built:
                optimizer.build(model.trainable_variables)
            self._step = step_class(model, optimizer, gradients, self.strategy)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Trains on one global batch.

        Args:
            batch: Tensors or arrays, `[examples, ...]` each: the whole batch, or only the `rows` of this worker.

        Returns:
            The metrics of the objective, averaged over the batch.
        """
        return {name: float(total) / float(count) for name, (total, count) in self.run_step(batch).items()}

    def run_step(self, batch: Batch) -> Metrics:
        """Does the same as `train_step`, but returns (sum, count) tensors without waiting for the device.

        Raises:
            ConfigError: Another `MirroredStrategy` has used these devices before, see `collective_errors`.
        """
        devices = self._replicas // self.workers.count
        pieces = split_batch(self._share(batch), self.accumulate * devices)
        chunks = [self._distribute(pieces[i : i + devices]) for i in range(0, len(pieces), devices)]
        with collective_errors():
            return self._step(chunks)

    def fit(
        self,
        batches: Callable[[int], tf.data.Dataset],
        *,
        steps_per_epoch: int,
        epochs: int,
        name: str,
        run: RunFolder | None = None,
        evaluate: Callable[[], dict[str, float]] | None = None,
        before_epoch: Callable[[int], None] | None = None,
        weights: Callable[[], WeightNumbers] | None = None,
        resume: bool = False,
        description: str = "training",
        postfix: Callable[[], str] | None = None,
        log_every: int = 0,
        checkpoint_minutes: float = 5.0,
    ) -> list[Row]:
        """Trains for a number of epochs.

        A training that was killed at any moment and is resumed ends with the weights and metrics of an uninterrupted
        one, bit for bit on one device, if `batches` depends only on its argument.

        Args:
            batches: Returns the data set of batches, or of their `rows`, from a step (counted over all epochs) on.
            steps_per_epoch: Steps of an epoch.
            epochs: Epochs of the whole training, including those before it was resumed.
            name: Name of the checkpoints, tables and events in the run folder.
            run: The run folder. Default: nothing is written. Of several workers only the chief reads and writes it.
            evaluate: Called after each epoch; returns numbers for the row of the epoch.
            before_epoch: Called with the number of each epoch, from 0, before its first step. It may change variables
                of the model. After a crash it is called again for the same epoch, with the same variables.
            weights: Called after `evaluate`; returns numbers of single weights by name, for the table `<name>_weights`.
            resume: Whether to continue from the latest checkpoint, if there is one.
            description: Text before the progress bar.
            postfix: Returns text to show after the progress bar.
            log_every: Steps between two lines on the console and in the table `<name>_steps`; 0 for none.
            checkpoint_minutes: Time between two checkpoints within an epoch; one is always written after each epoch.

        Returns:
            One row per epoch: epoch, step, learning_rate, the metrics of the objective as `train_...`, and the numbers
            of `evaluate`.

        Raises:
            KeyboardInterrupt: After Ctrl-C, when the step was finished and a checkpoint saved.
            TfpruneError: The loss is not finite, or the data end early.
            RunFolderError: `run` contains checkpoints of this name and `resume` is off.
            WorkerError: Another worker stopped.
        """
        fit = Fit(self.run_step, self.model, self.optimizer, steps_per_epoch=steps_per_epoch, epochs=epochs)
        fit.open(name, run if self.workers.is_chief else None, resume=resume, weights=weights)
        fit.configure_logging(description, postfix=postfix, log_every=log_every, checkpoint_minutes=checkpoint_minutes)
        self.workers.share_variables([*self.model.variables, *self.optimizer.variables])
        state = self.workers.share_text(fit.state.serialize())
        if not self.workers.is_chief:
            fit.state.deserialize(state)
        with self.workers.lost_workers_reported(), self.workers.only_chief_prints():
            return fit.run(batches, evaluate, before_epoch)

    def _resolve_jit(self, compile: Compile) -> bool:
        """Returns whether to compile with XLA, which cannot compile batch norm that is synchronized over devices."""
        devices = self.strategy.extended.worker_devices if self._replicas > 1 else default_devices()
        jit = uses_xla(compile, tuple(devices))
        layers = flat_layers(self.model)
        if not (jit and self._replicas > 1 and any(getattr(layer, "synchronized", False) for layer in layers)):
            return jit
        if compile == "on":
            raise ConfigError(
                "compile: expected auto or off for synchronized batch norm on several devices, received on; XLA cannot "
                "compile reductions over devices"
            )
        return False

    def _own_rows(self) -> tuple[int, ...]:
        """Returns the positions within a batch of the examples of this worker."""
        return worker_rows(
            self._global_batch_size,
            chunks=self.accumulate,
            replicas=self._replicas,
            workers=self.workers.count,
            rank=self.workers.rank,
        )

    def _share(self, batch: Batch) -> Batch:
        """Returns the rows of this worker; the batch may contain only them already."""
        if self.rows is None or len(next(iter(batch.values()))) == len(self.rows):
            return batch
        return {name: tf.gather(value, self.rows) for name, value in batch.items()}

    def _distribute(self, parts: list[Batch]) -> Batch:
        """Gives each device of this worker its part."""
        if self._replicas == 1:
            return parts[0]
        first = self.workers.rank * len(parts)
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group - first]
        )


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """Cuts every tensor of a batch along its first axis.

    Args:
        batch: Tensors (or arrays) `[examples, ...]` of one length.
        parts: Number of parts; their lengths differ by one row at most.

    Returns:
        The parts in order, as tensors.

    Example:
        >>> [part["labels"].numpy().tolist() for part in split_batch({"labels": tf.range(5)}, 2)]
        [[0, 1], [2, 3, 4]]
    """
    batch = {name: tf.convert_to_tensor(value) for name, value in batch.items()}
    if parts == 1:
        return [batch]
    rows = len(next(iter(batch.values())))
    cuts = [part * rows // parts for part in range(parts + 1)]
    return [{name: value[start:stop] for name, value in batch.items()} for start, stop in pairwise(cuts)]


def worker_rows(batch_size: int, *, chunks: int, replicas: int, workers: int, rank: int) -> tuple[int, ...]:
    """Returns the positions within a batch of the examples of one worker, chunk by chunk.

    A batch is cut into chunks, and each chunk into one part per device, worker by worker. So several workers train on
    the same chunks as one process with the same number of devices.

    Args:
        batch_size: Examples of the batch.
        chunks: Chunks of a batch, for gradient accumulation.
        replicas: Devices of all workers.
        workers: Number of workers.
        rank: Index of the worker.

    Returns:
        `[batch_size / workers]` positions.

    Raises:
        ConfigError: The batch cannot be cut into equal parts.

    Example:
        >>> worker_rows(8, chunks=2, replicas=2, workers=2, rank=1)
        (2, 3, 6, 7)
    """
    check_parts(batch_size, chunks=chunks, replicas=replicas)
    chunk, share = batch_size // chunks, batch_size // chunks // workers
    first = [part * chunk + rank * share for part in range(chunks)]
    return tuple(row for start in first for row in range(start, start + share))


def check_parts(batch_size: int, *, chunks: int, replicas: int) -> None:
    """Checks that a batch can be cut into equal parts, one per device and chunk.

    Only equal parts give the update of the whole batch, because statistics of parts are averaged.

    Args:
        batch_size: Examples of the batch.
        chunks: Chunks of a batch, for gradient accumulation.
        replicas: Devices of all workers.

    Raises:
        ConfigError: The batch cannot be cut into equal parts.
    """
    chunks, replicas = whole_number("accumulate", chunks), whole_number("replicas", replicas)
    batch_size, parts = whole_number("batch_size", batch_size), chunks * replicas
    if batch_size % parts:
        raise ConfigError(
            f"batch_size: expected a multiple of {parts} ({replicas} device(s) times {chunks} accumulated chunk(s)), "
            f"received {batch_size}; take {batch_size - batch_size % parts or parts}, or other devices or chunks"
        )
