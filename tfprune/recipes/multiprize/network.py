"""The networks of a run: drawn, ready to be trained, or taken from a file."""

from typing import Any

import keras
import tensorflow as tf

from tfprune.graph import convert
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.models import build_model
from tfprune.recipes.multiprize.config import MultiPrizeConfig
from tfprune.recipes.training import fast_network


def drawn_network(config: MultiPrizeConfig, data: ImageDataset) -> keras.Model:
    """The random network, as a plain model that gives logits.

    All layers begin as `init` says, the classifier, too, as it is a layer like the others here.

    Raises:
        ConfigError: There is no such architecture or initialisation.
    """
    return build_model(
        config.arch,
        num_classes=data.num_classes,
        input_shape=data.input_shape,
        seed=config.seed,
        init=config.init,
        classifier_init="standard" if config.last_layer_dense else config.init,
        mode=config.mode,
        gain=config.gain,
        fan_scale=config.fan_scale,
        padding="symmetric",
        batch_norm="affine" if config.affine else "fixed",
        conv_bias=False,
        classifier_bias=config.last_layer_dense,
        activation="binary" if config.binary_activations else "relu",
        stem=config.stem,
        final_pool=config.final_pool,
        width_multiplier=config.width_multiplier,
    )


def trainable_network(config: MultiPrizeConfig, drawn: keras.Model, strategy: tf.distribute.Strategy) -> keras.Model:
    """A copy of a plain network whose scores can be trained, or whose weights can, if the settings say so.

    Args:
        config: The settings.
        drawn: The plain network. It is not changed.
        strategy: The devices; call it in their scope.

    Returns:
        The copy.
    """
    fast = fast_network(drawn, strategy, precision=config.precision, synchronized=config.sync_batch_norm)
    if config.dense:
        return fast
    constant = config.score_init_constant
    return convert(
        fast,
        "subnet",
        density=config.kept,
        scope=config.scope,
        selection=config.selection,
        ignore=_dense_layers(config, fast),
        learn_batchnorm=config.learn_batchnorm,
        bias_only=config.bias_only,
        tune_batchnorm=config.tune_batchnorm,
        score_initializer=None if constant is None else keras.initializers.Constant(constant),
        seed=config.seed,
        original_quirks=config.original_quirks,
    )


def _dense_layers(config: MultiPrizeConfig, model: keras.Model) -> list[Any]:
    """The layers that keep all their weights."""
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    return [*([layers[0]] if config.first_layer_dense else []), *([layers[-1]] if config.last_layer_dense else [])]
