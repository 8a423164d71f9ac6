"""Training of the scores, or of the weights of the dense twin."""

import keras

from tfprune.keras_private import flat_layers
from tfprune.optimizers import SGD, Adam
from tfprune.recipes.data import AugMix, GaussianNoise, View
from tfprune.recipes.make_recipe import make_recipe
from tfprune.recipes.multiprize.config import MultiPrizeConfig
from tfprune.recipes.training import Consistency, CrossEntropy, EpochRates, Recipe, loss_scaled

_VIEWS = 3


def make_optimizer(config: MultiPrizeConfig, network: keras.Model, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """SGD in PyTorch's form, or Adam.

    Args:
        config: The settings.
        network: The network that it will train.
        steps_per_epoch: Optimizer steps of an epoch.

    Returns:
        The optimizer, not built.
    """
    rate = EpochRates(
        config.learning_rate,
        config.lr_policy,
        config.epochs,
        steps_per_epoch,
        config.warmup_epochs,
        config.lr_adjust,
        config.lr_gamma,
    )
    clip = 1.0 if config.grad_clip else None
    if config.optimizer == "adam":
        return loss_scaled(Adam(rate, clipvalue=clip), config.precision)
    sgd = SGD(rate, config.momentum, config.nesterov, config.weight_decay, momentum_form="torch", clipvalue=clip)
    if not config.bn_decay:
        sgd.exclude_from_weight_decay(var_list=_scales_and_offsets(network))
    return loss_scaled(sgd, config.precision)


def make_objective(config: MultiPrizeConfig) -> CrossEntropy:
    """Cross-entropy, with the divergence of what is said of changed views if asked for."""
    return Consistency(config.label_smoothing) if config.jsd else CrossEntropy(config.label_smoothing)


def make_training_recipe(config: MultiPrizeConfig) -> Recipe:
    """How long, and on which views of the images."""
    return make_recipe(config, epochs=config.epochs, views=_VIEWS if config.jsd else 1, view=_view(config))


def _view(config: MultiPrizeConfig) -> View | None:
    """What changes images."""
    if config.augmix:
        return AugMix(config.augmix_severity, config.augmix_width, config.augmix_depth, config.all_augmix)
    return GaussianNoise(config.noise_deviation, config.noise_clean) if config.gaussian_noise else None


def _scales_and_offsets(network: keras.Model) -> list[keras.Variable]:
    """What batch norms train; the authors go by names, and miss those of shortcuts."""
    norms = [layer for layer in flat_layers(network) if isinstance(layer, keras.layers.BatchNormalization)]
    return [variable for layer in norms for variable in layer.trainable_variables]
