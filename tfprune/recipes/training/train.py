"""Training of a model on a data set, with a test after each epoch.

`train_model` joins what the other modules provide: batches of an `ImageDataset`, a `Loop`, an evaluation and a run
folder. `fast_copy` makes the copy of a model that is trained; `SubnetCallback` serves those who train sub-network
layers by Keras' own `fit` instead.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
import tensorflow as tf

from tfprune.graph import convert
from tfprune.layers import refresh_masks, set_density
from tfprune.recipes.data import BatchRequest, ImageDataset
from tfprune.recipes.training.evaluation import evaluate
from tfprune.recipes.training.fit import WeightNumbers
from tfprune.recipes.training.loop import Loop
from tfprune.recipes.training.objectives import CrossEntropy, Objective
from tfprune.recipes.training.run_folder import Row, RunFolder
from tfprune.recipes.training.step import Compile


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Attributes:
        batches: The batches of the whole schedule: their size over all devices, epochs, seed, augmentation.
            `train_model` adds the step to start at and the rows of this worker.
        val_batch_size: Batch size of evaluation.
        compile: XLA: on, off or auto.
        accumulate: Chunks that each batch is cut into, see `Loop`.
        log_every: Steps between two log lines; 0 for none.
        test_each_epoch: Whether to evaluate after each epoch.

    Example:
        >>> TrainingConfig(BatchRequest(batch_size=64, epochs=3, seed=0), log_every=0).batches.epochs
        3
    """

    batches: BatchRequest
    val_batch_size: int = 256
    compile: Compile = "auto"
    accumulate: int = 1
    log_every: int = 200
    test_each_epoch: bool = True


def train_model(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    config: TrainingConfig,
    *,
    data: ImageDataset,
    strategy: tf.distribute.Strategy,
    run: RunFolder | None = None,
    name: str = "training",
    resume: bool = False,
    first_epoch: int = 0,
    last_epoch: int | None = None,
    objective: Objective | None = None,
    before_epoch: Callable[[int], None] | None = None,
    after_epoch: Callable[[float], None] | None = None,
    test: Callable[[], dict[str, float]] | None = None,
    weights: Callable[[], WeightNumbers] | None = None,
    description: str = "training",
    postfix: Callable[[], str] | None = None,
) -> list[Row]:
    """Trains a model in place, see `Loop.fit`.

    Args:
        model: A model that returns logits, built in `strategy.scope()`.
        optimizer: Its optimizer, built there, too. Its learning rate counts steps from `first_epoch` on.
        config: How to train.
        data: The data set.
        strategy: The devices.
        run: The folder for metrics and checkpoints. Default: none are written.
        name: Name of this training in the run folder.
        resume: Whether to continue from the latest checkpoint, if there is one.
        first_epoch: Epoch of the schedule, and of the data, to start with; the model was trained up to there.
        last_epoch: Epoch of the schedule to stop before. Default: the end of the schedule.
        objective: The loss. Default: the cross-entropy.
        before_epoch: Called with the number of each epoch, from 0, before its first step, see `Loop.fit`.
        after_epoch: Called after each evaluation with the accuracy on the test images.
        test: Called after each epoch instead of that evaluation; returns numbers for the epoch's row.
        weights: Called after it; returns numbers of single weights, see `Loop.fit`.
        description: Text before the progress bar.
        postfix: Returns text to show after the progress bar.

    Returns:
        One row of metrics per epoch.

    Raises:
        ConfigError: The batches do not fit the data set or the devices.
        TfpruneError: See `Loop.fit`.
    """
    batches = config.batches
    steps = data.steps_per_epoch(batches.batch_size)
    loop = Loop(
        model,
        optimizer,
        objective or CrossEntropy(),
        global_batch_size=batches.batch_size,
        strategy=strategy,
        compile=config.compile,
        accumulate=config.accumulate,
    )

    def evaluate_epoch() -> dict[str, float]:
        result = evaluate(model, data.test_batches(config.val_batch_size), compile=config.compile)
        if after_epoch is not None:
            after_epoch(result.top1)
        return {"test_loss": result.loss, "test_accuracy": result.top1}

    def batches_from(step: int) -> tf.data.Dataset:
        return data.training_batches(replace(batches, start_step=first_epoch * steps + step, rows=loop.rows))

    return loop.fit(
        batches_from,
        steps_per_epoch=steps,
        epochs=(batches.epochs if last_epoch is None else last_epoch) - first_epoch,
        name=name,
        run=run,
        evaluate=(test or evaluate_epoch) if config.test_each_epoch else None,
        before_epoch=before_epoch,
        weights=weights,
        resume=resume,
        description=description,
        postfix=postfix,
        log_every=config.log_every,
    )


def fast_copy(
    model: keras.Model, strategy: tf.distribute.Strategy, *, precision: str, synchronized: bool
) -> keras.Model:
    """Returns a copy for training, with fused batch norm that keeps PyTorch's running variance.

    Args:
        model: A plain model. It is not changed.
        strategy: The devices; to be called in its scope.
        precision: Data type policy of the layers, as in Keras.
        synchronized: Whether to compute batch statistics over all devices, if there are several.

    Returns:
        The copy.
    """
    options = {"synchronized": synchronized and strategy.num_replicas_in_sync > 1, "unbiased_variance": True}
    return convert(model, "fused", dtype=precision, options=options)


class SubnetCallback(keras.callbacks.Callback):
    """Sets the density of a model's sub-network layers before each epoch of `fit`, and refreshes their masks.

    Without this callback, layers keep their density, and evaluation and saved files use the masks of the last training
    step instead of those of the scores after it.

    Args:
        density: Returns the density of an epoch, counted from 0, such as a `DensityRamp`. Default: the density of the
            layers does not change.

    Example:
        >>> from tfprune.recipes.training import DensityRamp
        >>> model.fit(images, labels, callbacks=[SubnetCallback(DensityRamp(0.2, epochs=10))])  # doctest: +SKIP
    """

    def __init__(self, density: Callable[[int], float] | None = None) -> None:
        super().__init__()
        self._density = density

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Sets the density."""
        if self._density is not None:
            set_density(self.model, self._density(epoch))

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Recomputes the masks from the scores."""
        refresh_masks(self.model)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Recomputes the masks from the scores."""
        refresh_masks(self.model)
