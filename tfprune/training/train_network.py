"""Training of a network on a data set, with a test after each epoch."""

from collections.abc import Callable

import keras
import tensorflow as tf

from tfprune.data import ImageDataset
from tfprune.training.cross_entropy import CrossEntropy
from tfprune.training.evaluation import evaluate
from tfprune.training.loop import Loop
from tfprune.training.metrics_log import Row
from tfprune.training.objective import Objective
from tfprune.training.recipe import Recipe
from tfprune.training.run_folder import RunFolder


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
        test: Called after each epoch in the place of that evaluation; what it gives goes into the epoch's row.

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
            batch_size=recipe.batch_size,
            epochs=recipe.epochs,
            seed=recipe.seed,
            start_step=start + first_epoch * steps,
            views=recipe.views,
            view=recipe.view,
            rows=loop.rows,
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
        log_every=recipe.log_every,
    )
