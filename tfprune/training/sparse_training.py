"""Training of a network of which masked weights stay 0."""

from dataclasses import dataclass

import keras
import tensorflow as tf

from tfprune.data import ImageDataset
from tfprune.graph import convert
from tfprune.masks import Masks
from tfprune.optimizers import SGD
from tfprune.training.loss_scaled import loss_scaled
from tfprune.training.recipe import Recipe
from tfprune.training.run_folder import RunFolder
from tfprune.training.step_decay import StepDecay
from tfprune.training.train_network import train_network
from tfprune.training.workers import Workers


@dataclass(frozen=True)
class SparseTraining(Recipe):
    """A recipe: PyTorch's SGD on the cross-entropy, learning rates that drop at milestones.

    Attributes:
        learning_rate: Learning rate of the first epochs.
        momentum: Momentum.
        weight_decay: L2 coefficient of every variable, added to the gradients.
        milestones: Epochs at which the learning rate drops.
        gamma: Factor of each drop.
        precision: Keras' data type policy of the layers.
        synchronized: Take batch statistics over all devices.
    """

    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    precision: str = "float32"
    synchronized: bool = True


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

    Returns:
        The trained network with its masks.
    """
    with Workers(strategy).scope():
        fast = fast_network(model, strategy, precision=recipe.precision, synchronized=recipe.synchronized)
        sparse = convert(fast, "masked", masks)
        optimizer = _optimizer(recipe, data.steps_per_epoch(recipe.batch_size), first_epoch)
    train_network(
        sparse,
        optimizer,
        recipe,
        data=data,
        strategy=strategy,
        run=run,
        name=name,
        resume=resume,
        first_epoch=first_epoch,
        last_epoch=last_epoch,
    )
    return sparse


def fast_network(
    model: keras.Model, strategy: tf.distribute.Strategy, *, precision: str, synchronized: bool
) -> keras.Model:
    """A copy with fast batch norm that keeps PyTorch's running variance.

    Args:
        model: A plain model.
        strategy: The devices; call it in their scope.
        precision: Keras' data type policy of the layers.
        synchronized: Take batch statistics over all devices, if there are several.
    """
    options = {"synchronized": synchronized and strategy.num_replicas_in_sync > 1, "unbiased_variance": True}
    return convert(model, "fused", dtype=precision, options=options)


def _optimizer(recipe: SparseTraining, steps: int, first_epoch: int) -> keras.optimizers.Optimizer:
    passed = sum(point <= first_epoch for point in recipe.milestones)
    to_come = tuple(point - first_epoch for point in recipe.milestones if point > first_epoch)
    rate = StepDecay(
        recipe.learning_rate * recipe.gamma**passed, to_come, recipe.gamma, recipe.epochs - first_epoch, steps
    )
    sgd = SGD(rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay, momentum_form="torch")
    return loss_scaled(sgd, recipe.precision)
