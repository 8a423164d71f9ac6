"""Training of a network of which masked weights stay 0."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import keras
import tensorflow as tf

from tfprune.data import ImageDataset
from tfprune.graph import convert
from tfprune.masks import Masks
from tfprune.optimizers import SGD
from tfprune.training.cross_entropy import CrossEntropy
from tfprune.training.evaluation import evaluate
from tfprune.training.loop import Loop
from tfprune.training.run_folder import RunFolder
from tfprune.training.step_decay import StepDecay


@dataclass(frozen=True)
class SparseTraining:
    """A recipe: PyTorch's SGD on the cross-entropy, learning rates that drop at milestones.

    Attributes:
        epochs: Epochs of the schedule.
        batch_size: Batch size of training, over all devices.
        learning_rate: Learning rate of the first epochs.
        momentum: Momentum.
        weight_decay: L2 coefficient of every variable, added to the gradients.
        milestones: Epochs at which the learning rate drops.
        gamma: Factor of each drop.
        seed: Seed of data order and augmentation.
        val_batch_size: Batch size of evaluation.
        precision: Keras' data type policy of the layers.
        compile: XLA: on, off or auto.
        accumulate: Chunks that a batch is cut into.
        synchronized: Take batch statistics over all devices.
        log_every: Steps between two log lines.
        test_each_epoch: Evaluate after each epoch.
    """

    epochs: int
    batch_size: int
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    seed: int = 0
    val_batch_size: int = 256
    precision: str = "float32"
    compile: Literal["auto", "on", "off"] = "auto"
    accumulate: int = 1
    synchronized: bool = True
    log_every: int = 200
    test_each_epoch: bool = True


def train_sparse(
    recipe: SparseTraining,
    model: keras.Model,
    masks: Masks,
    *,
    data: ImageDataset,
    strategy: tf.distribute.Strategy,
    run: RunFolder | None = None,
    name: str = "training",
    resume: bool = False,
    first_epoch: int = 0,
    last_epoch: int | None = None,
    after_epoch: Callable[[keras.Model, float], None] | None = None,
) -> keras.Model:
    """Trains a masked copy of a network.

    Masked weights have no gradient, and the network computes with zeros in their place whatever momentum and decay do
    to what they hold; `convert(..., "plain")` then writes these zeros into the kernels.

    Args:
        recipe: How.
        model: A plain model that gives logits. It is not changed.
        masks: Which weights are kept; layers without a mask keep all.
        data: The data set.
        strategy: The devices.
        run: Where metrics and checkpoints go.
        name: Name of this training in the run's folder.
        resume: Go on from the checkpoints in it, if any.
        first_epoch: Epoch of the schedule, and of the data, to begin with: the model has been trained so far.
        last_epoch: Epoch of the schedule to stop before. Default: after all.
        after_epoch: Called after each evaluation with the masked network and its accuracy on the test images.

    Returns:
        The trained network with its masks.
    """
    steps = data.steps_per_epoch(recipe.batch_size)
    with strategy.scope():
        batch_norm = {
            "synchronized": recipe.synchronized and strategy.num_replicas_in_sync > 1,
            "unbiased_variance": True,  # PyTorch's running variance
        }
        sparse = convert(convert(model, "fused", dtype=recipe.precision, options=batch_norm), "masked", masks)
        loop = Loop(
            sparse,
            _optimizer(recipe, steps, first_epoch),
            CrossEntropy(),
            global_batch_size=recipe.batch_size,
            strategy=strategy,
            compile=recipe.compile,
            accumulate=recipe.accumulate,
        )

    def evaluated() -> dict[str, float]:
        tested = evaluate(sparse, data.test_batches(recipe.val_batch_size), compile=recipe.compile)
        if after_epoch is not None:
            after_epoch(sparse, tested.top1)
        return {"test_loss": tested.loss, "test_accuracy": tested.top1}

    batches = partial(data.training_batches, batch_size=recipe.batch_size, epochs=recipe.epochs, seed=recipe.seed)
    loop.fit(
        lambda start: batches(start_step=start + first_epoch * steps),
        steps_per_epoch=steps,
        epochs=(recipe.epochs if last_epoch is None else last_epoch) - first_epoch,
        name=name,
        run=run,
        evaluate=evaluated if recipe.test_each_epoch else None,
        resume=resume,
        log_every=recipe.log_every,
    )
    return sparse


def _optimizer(recipe: SparseTraining, steps: int, first_epoch: int) -> SGD:
    passed = sum(point <= first_epoch for point in recipe.milestones)
    to_come = tuple(point - first_epoch for point in recipe.milestones if point > first_epoch)
    rate = StepDecay(
        recipe.learning_rate * recipe.gamma**passed, to_come, recipe.gamma, recipe.epochs - first_epoch, steps
    )
    return SGD(rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay, momentum_form="torch")
