"""Training of a network on a data set, with a test after each epoch."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf

from tfprune.graph import convert
from tfprune.layers import refresh_masks, set_density
from tfprune.recipes.data import BatchRequest, ImageDataset, View
from tfprune.recipes.data.knowledge import Knowledge
from tfprune.recipes.training.evaluation import evaluate
from tfprune.recipes.training.loop import Loop
from tfprune.recipes.training.objectives import CrossEntropy, Objective
from tfprune.recipes.training.run_folder import Row, RunFolder
from tfprune.recipes.training.step import Compile


@dataclass(frozen=True)
class Recipe:
    """What every training of a network on a data set needs to be told.

    Attributes:
        epochs: Epochs of the schedule.
        batch_size: Batch size of training, over all devices.
        seed: Seed of data order and augmentation.
        views: Views of each image, see `BatchRequest`.
        view: What changes the augmented images, if anything.
        val_batch_size: Batch size of evaluation.
        compile: XLA: on, off or auto.
        accumulate: Chunks that a batch is cut into.
        log_every: Steps between two log lines; 0 for none.
        test_each_epoch: Evaluate after each epoch.
    """

    epochs: int
    batch_size: int
    seed: int = 0
    views: int = 1
    view: View | None = None
    val_batch_size: int = 256
    compile: Compile = "auto"
    accumulate: int = 1
    log_every: int = 200
    test_each_epoch: bool = True


def train_network(
    network: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    recipe: Recipe,
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
    color_jitter: bool = False,
    knowledge: Knowledge | None = None,
    description: str = "training",
    postfix: Callable[[], str] | None = None,
) -> list[Row]:
    """Trains a network in place, see `Loop.fit`.

    Args:
        network: What gives logits, made in `strategy.scope()`.
        optimizer: What trains it, made there, too; its learning rate counts steps from those of `first_epoch` on.
        recipe: How.
        data: The data set.
        strategy: The devices.
        run: Where metrics and checkpoints go.
        name: Name of this training in the run's folder.
        resume: Go on from the checkpoints in it, if any.
        first_epoch: Epoch of the schedule, and of the data, to begin with: the network has been trained so far.
        last_epoch: Epoch of the schedule to stop before. Default: after all.
        objective: What to minimise. Default: the cross-entropy.
        before_epoch: Called with the number of each epoch, from 0, before its first step, see `Loop.fit`.
        after_epoch: Called after each evaluation with the accuracy on the test images.
        test: Called after each epoch instead of that evaluation; what it returns goes into the epoch's row.
        color_jitter: Also change the colors of the images, see `BatchRequest`.
        knowledge: Logits of teachers that go into the batches with their images.
        description: Shown at the progress bar.
        postfix: Returns text to show behind the bar.

    Returns:
        One row of metrics per epoch.
    """
    steps = data.steps_per_epoch(recipe.batch_size)
    loop = Loop(
        network,
        optimizer,
        objective or CrossEntropy(),
        global_batch_size=recipe.batch_size,
        strategy=strategy,
        compile=recipe.compile,
        accumulate=recipe.accumulate,
    )

    def tested() -> dict[str, float]:
        result = evaluate(network, data.test_batches(recipe.val_batch_size), compile=recipe.compile)
        if after_epoch is not None:
            after_epoch(result.top1)
        return {"test_loss": result.loss, "test_accuracy": result.top1}

    def from_step(start: int) -> tf.data.Dataset:
        return data.training_batches(
            BatchRequest(
                recipe.batch_size,
                recipe.epochs,
                recipe.seed,
                start_step=start + first_epoch * steps,
                views=recipe.views,
                view=recipe.view,
                color_jitter=color_jitter,
                knowledge=knowledge,
                rows=loop.rows,
            )
        )

    return loop.fit(
        from_step,
        steps_per_epoch=steps,
        epochs=(recipe.epochs if last_epoch is None else last_epoch) - first_epoch,
        name=name,
        run=run,
        evaluate=(test or tested) if recipe.test_each_epoch else None,
        before_epoch=before_epoch,
        resume=resume,
        description=description,
        postfix=postfix,
        log_every=recipe.log_every,
    )


def fast_network(
    model: keras.Model, strategy: tf.distribute.Strategy, *, precision: str, synchronized: bool
) -> keras.Model:
    """Returns a copy with fast batch norm that keeps PyTorch's running variance.

    Args:
        model: A plain model.
        strategy: The devices; call it in their scope.
        precision: Keras' data type policy of the layers.
        synchronized: Compute batch statistics over all devices, if there are several.
    """
    options = {"synchronized": synchronized and strategy.num_replicas_in_sync > 1, "unbiased_variance": True}
    return convert(model, "fused", dtype=precision, options=options)


class SubnetCallback(keras.callbacks.Callback):
    """Sets the density of a model's sub-network layers before each epoch of `fit`, and keeps their masks up to date.

    Without it everything works, too, at a constant density; evaluation and files then have the masks of the last
    training step rather than those of the scores it led to.

    Args:
        density: From an epoch, counted from 0, to the share of weights to keep, such as a `DensityRamp`. Default: as
            the layers have it.

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
        """Makes the masks follow the scores."""
        refresh_masks(self.model)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Makes the masks follow the scores."""
        refresh_masks(self.model)
