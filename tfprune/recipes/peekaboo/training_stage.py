"""Training of the masked network: signs by Bop, the rest by SGD."""

from collections.abc import Callable

import keras
import tensorflow as tf

from tfprune.graph import convert, masks_of
from tfprune.layers import MaskedWeights
from tfprune.masks import Masks
from tfprune.optimizers import SGD, Bop
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.make_recipe import make_recipe
from tfprune.recipes.peekaboo.config import PeekabooConfig
from tfprune.recipes.training import (
    Evaluation,
    PeriodicDecay,
    RunFolder,
    StepDecay,
    Workers,
    evaluate,
    fast_network,
    loss_scaled,
    train_network,
)

Prune = Callable[[int, keras.Model, Masks], Masks | None]
_DROP = 0.1


def sparse_model(
    config: PeekabooConfig, model: keras.Model, masks: Masks, strategy: tf.distribute.Strategy
) -> keras.Model:
    """The network that is trained: masked or PSG layers, fast batch norm, the model's weights."""
    fast = fast_network(model, strategy, precision=config.precision, synchronized=config.sync_batch_norm)
    if not config.psg:
        return convert(fast, "masked", masks)
    options = {
        "input_bits": config.psg_input_bits,
        "gradient_bits": config.psg_gradient_bits,
        "relative_threshold": config.psg_relative_threshold,
        "absolute_threshold": config.psg_absolute_threshold,
        "sparsify": config.psg_sparsify,
        "take_sign": config.psg_take_sign,
        "quantize": config.psg_quantize,
    }
    return convert(fast, "psg", masks, options=options)


def make_optimizer(config: PeekabooConfig, model: keras.Model, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """SGD in PyTorch's form, and Bop beside it for the masked kernels if the settings ask for it."""
    rate = StepDecay(config.base_learning_rate, config.milestones, _DROP, config.epochs, steps_per_epoch)
    sgd = SGD(rate, momentum=config.momentum, weight_decay=config.weight_decay, momentum_form="torch")
    if config.optimizer == "SGD":
        return loss_scaled(sgd, config.precision)
    bop = Bop(
        PeriodicDecay(
            config.ar, config.ar_decay_ratio, config.ar_decay_freq, steps_per_epoch, offset=config.AR_EPOCHS_EARLY
        ),
        config.tau,
        companion=sgd,
        sign_trained=[variable.path for variable in _sign_trained(model)],
    )
    return loss_scaled(bop, config.precision)


def train(
    config: PeekabooConfig,
    model: keras.Model,
    masks: Masks,
    *,
    data: ImageDataset,
    strategy: tf.distribute.Strategy,
    run: RunFolder,
    prune: Prune,
    keep_best: Callable[[keras.Model, float], None],
) -> keras.Model:
    """Trains the masked network.

    Args:
        config: The settings.
        model: A plain model that gives logits. It is not changed.
        masks: Those to begin with.
        data: The data set.
        strategy: The devices.
        run: Where metrics and checkpoints go.
        prune: Called before each epoch with its number, the network as a plain model whose pruned weights keep their
            values, and the masks; gives new masks, or None to leave them.
        keep_best: Called after each epoch with the network and its accuracy on the test images.

    Returns:
        The trained network with its masks.
    """
    with Workers(strategy).scope():
        sparse = sparse_model(config, model, masks, strategy)
        optimizer = make_optimizer(config, sparse, data.steps_per_epoch(config.batch_size))

    def before_epoch(epoch: int) -> None:
        if (found := prune(epoch, unmasked(sparse, model), masks_of(sparse))) is not None:
            set_masks(sparse, found)

    train_network(
        sparse,
        optimizer,
        make_recipe(config, epochs=config.epochs),
        data=data,
        strategy=strategy,
        run=run,
        resume=config.resume,
        before_epoch=before_epoch,
        after_epoch=lambda accuracy: keep_best(sparse, accuracy),
    )
    return sparse


def test(config: PeekabooConfig, model: keras.Model, data: ImageDataset) -> Evaluation:
    """Evaluates a model on the test images."""
    return evaluate(model, data.test_batches(config.val_batch_size), compile=config.compile)


def unmasked(sparse: keras.Model, plain: keras.Model) -> keras.Model:
    """A copy of a plain model with the weights of its masked twin, those of pruned positions included."""
    copy = keras.models.clone_model(plain)
    for layer in filter(lambda layer: layer.variables, copy.layers):
        values = {variable.name: variable for variable in sparse.get_layer(layer.name).variables}
        for variable in layer.variables:
            variable.assign(values[variable.name])
    return copy


def set_masks(sparse: keras.Model, masks: Masks) -> None:
    """Replaces the masks of a masked model."""
    for name, mask in masks.items():
        sparse.get_layer(name.rpartition("/")[0]).mask.assign(mask)


def _sign_trained(model: keras.Model) -> list[keras.Variable]:
    """The masked kernels but that of the last dense layer, which the original trains by SGD."""
    *hidden, last = model.layers
    layers = hidden if isinstance(last, keras.layers.Dense) else model.layers
    return [layer.kernel for layer in layers if isinstance(layer, MaskedWeights)]
