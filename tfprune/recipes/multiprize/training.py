"""Training of the scores, or of the weights of the dense twin: optimizer, objective, views of images, histograms."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.keras_private import child_layers, flat_layers
from tfprune.layers import Subnet
from tfprune.optimizers import SGD, Adam
from tfprune.recipes.data import AugMix, GaussianNoise, View
from tfprune.recipes.multiprize.config import MultiPrizeConfig
from tfprune.recipes.training import Consistency, CrossEntropy, EpochRates, GradientProbe

_VIEWS = 3


def make_rate(config: MultiPrizeConfig, steps_per_epoch: int) -> EpochRates:
    """Returns the learning rate.

    Args:
        config: The settings.
        steps_per_epoch: Optimizer steps of an epoch.
    """
    return EpochRates(
        config.learning_rate,
        config.lr_policy,
        config.epochs,
        steps_per_epoch,
        config.warmup_epochs,
        config.lr_adjust,
        config.lr_gamma,
    )


def make_optimizer(config: MultiPrizeConfig, model: keras.Model, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Returns SGD in PyTorch's form, or Adam; not built.

    Args:
        config: The settings.
        model: The model to train.
        steps_per_epoch: Optimizer steps of an epoch.
    """
    rate = make_rate(config, steps_per_epoch)
    clip = 1.0 if config.grad_clip else None
    if config.optimizer == "adam":
        return Adam(rate, clipvalue=clip)
    sgd = SGD(rate, config.momentum, config.nesterov, config.weight_decay, momentum_form="torch", clipvalue=clip)
    if not config.bn_decay:
        sgd.exclude_from_weight_decay(var_list=_scales_and_offsets(model))
    return sgd


def make_objective(config: MultiPrizeConfig) -> CrossEntropy:
    """Returns cross-entropy; with `jsd` also the divergence between the predictions for the views of an image."""
    return Consistency(config.label_smoothing) if config.jsd else CrossEntropy(config.label_smoothing)


def make_views(config: MultiPrizeConfig) -> dict[str, Any]:
    """Returns how many views of each image a batch has, `views`, and how they are changed, `view`."""
    return {"views": _VIEWS if config.jsd else 1, "view": _view(config)}


def recorded_views(config: MultiPrizeConfig) -> dict[str, Any]:
    """Returns the settings that say how views are changed, for a record; empty if they are not."""
    if config.augmix:
        names = ["augmix", "augmix_severity", "augmix_width", "augmix_depth", "all_augmix", "jsd"]
    elif config.gaussian_noise:
        names = ["gaussian_noise", "noise_deviation", "noise_clean", "jsd"]
    else:
        names = []
    return {name: getattr(config, name) for name in names}


class Histograms:
    """Writes the distributions of a model's variables and gradients, and what each layer keeps, for TensorBoard.

    The gradients are those of the first training images at the weights after an epoch, before momentum, decay and
    clipping: they show whether a layer still learns. In float16 gradients that overflow are left out, as the training
    step would be.

    Args:
        folder: The folder of the events.
        model: The model.
        gradients: Returns its gradients.
    """

    def __init__(self, folder: Path, model: keras.Model, gradients: GradientProbe) -> None:
        self._writer = tf.summary.create_file_writer(str(folder))
        self._model = model
        self._gradients = gradients

    def write(self, epoch: int) -> None:
        """Writes the histograms of an epoch; the masks are up to date.

        Args:
            epoch: Epochs done so far.
        """
        with self._writer.as_default(step=epoch):
            for layer in flat_layers(self._model):
                if isinstance(layer, Subnet):
                    tf.summary.scalar(f"kept/{layer.name}", float(np.mean(layer.mask)))
                if not child_layers(layer):
                    for variable in layer.variables:
                        if len(variable.shape) and "float" in variable.dtype:
                            tf.summary.histogram(f"{layer.name}/{variable.name}", tf.convert_to_tensor(variable.value))
            for variable, gradient in zip(self._model.trainable_variables, self._gradients(), strict=True):
                if np.isfinite(gradient).all():
                    tf.summary.histogram(f"gradients/{variable.path}", gradient)
        self._writer.flush()


def _view(config: MultiPrizeConfig) -> View | None:
    """Returns the change of the images, if any."""
    if config.augmix:
        return AugMix(config.augmix_severity, config.augmix_width, config.augmix_depth, config.all_augmix)
    return GaussianNoise(config.noise_deviation, config.noise_clean) if config.gaussian_noise else None


def _scales_and_offsets(model: keras.Model) -> list[keras.Variable]:
    """Returns the trainable variables of batch norms; the authors select by name and miss those of shortcuts."""
    norms = [layer for layer in flat_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    return [variable for layer in norms for variable in layer.trainable_variables]
