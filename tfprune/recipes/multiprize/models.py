"""The models of a run: random ones, their trainable copies, and models of other runs to start from."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import CheckpointError, ConfigError, PruningError
from tfprune.graph import convert
from tfprune.keras_private import flat_layers
from tfprune.layers import Subnet, collapsed_layers, refresh_masks, set_density, subnet_layers
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.models import build_model, load_checkpoint
from tfprune.recipes.multiprize.config import MultiPrizeConfig
from tfprune.recipes.multiprize.original_checkpoint import (
    SUFFIXES,
    OriginalCheckpoint,
    load_original,
    read_original,
)
from tfprune.recipes.training import fast_copy

_OF_MODEL = (
    *("arch", "dataset", "stem", "final_pool", "width_multiplier", "binary_activations"),
    *("precision", "sync_batch_norm"),
)
_OF_SUBNET = ("scope", "selection", "original_quirks")


def random_model(config: MultiPrizeConfig, data: ImageDataset) -> keras.Model:
    """Returns the random model, as a plain model that returns logits.

    All layers are initialized by `init`, the classifier as well, because it is a layer like the others here.

    Raises:
        ConfigError: The architecture or the initialization does not exist.
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


def with_scores(config: MultiPrizeConfig, fast: keras.Model) -> keras.Model:
    """Returns a copy of a fast model whose scores can be trained; with `dense` the model itself.

    Args:
        config: The settings.
        fast: A model with fast batch norm, see `tfprune.recipes.training.fast_copy`.
    """
    if config.dense:
        return fast
    constant = config.score_init_constant
    layers = [layer for layer in fast.layers if hasattr(layer, "kernel")]
    ignored = [*(layers[:1] if config.first_layer_dense else []), *(layers[-1:] if config.last_layer_dense else [])]
    return convert(
        fast,
        "subnet",
        density=config.kept,
        scope=config.scope,
        selection=config.selection,
        ignore=ignored,
        learn_batchnorm=config.learn_batchnorm,
        bias_only=config.bias_only,
        tune_batchnorm=config.tune_batchnorm,
        score_initializer=None if constant is None else keras.initializers.Constant(constant),
        seed=config.seed,
        original_quirks=config.original_quirks,
    )


def trainable_model(config: MultiPrizeConfig, model: keras.Model, strategy: tf.distribute.Strategy) -> keras.Model:
    """Returns a copy of a plain model whose scores can be trained; with `dense`, whose weights can.

    Args:
        config: The settings.
        model: The plain model. It is not changed.
        strategy: The devices; call it in their scope.
    """
    fast = fast_copy(model, strategy, precision=config.precision, synchronized=config.sync_batch_norm)
    return with_scores(config, fast)


def saved_model(config: MultiPrizeConfig, path: str, data: ImageDataset) -> keras.Model:
    """Returns the model in a file, with its own masks or those of the density in the settings.

    Args:
        config: The settings.
        path: A `.keras` file of ours, or a checkpoint of the authors.
        data: The data set that the model is for.

    Raises:
        CheckpointError: The file is missing, damaged, hostile, or belongs to another model.
        ConfigError: The settings contradict the file.
    """
    if Path(path).suffix in SUFFIXES:
        original = read_original(path)
        settings = _settings_of(original, config)
        model = trainable_model(settings, random_model(settings, data), tf.distribute.get_strategy())
        load_original(original, model, density=config.density)
        return model
    model = load_checkpoint(path, arch=config.arch, num_classes=data.num_classes, input_shape=data.input_shape)
    if config.density is not None:
        set_density(model, config.density)
    return model


def _settings_of(original: OriginalCheckpoint, config: MultiPrizeConfig) -> MultiPrizeConfig:
    """Returns the settings of the model in a checkpoint of the authors: what the file does not say is as in `config`.

    Raises:
        ConfigError: The scope of a model to evaluate is given, and the file says another one.
    """
    said = original.settings
    if config.evaluate and config.changed(["scope"]) and said.get("scope", config.scope) != config.scope:
        raise ConfigError(
            f"--scope: expected that of {original.path}, {said['scope']}, received {config.scope}; leave it out"
        )
    names = _OF_MODEL if said.get("dense") else (*_OF_MODEL, *_OF_SUBNET)
    values = {name: getattr(config, name) for name in names} | said
    return MultiPrizeConfig(evaluate=True, pretrained=str(original.path), **values)


def start_from(model: keras.Model, saved: keras.Model, path: str) -> None:
    """Copies the variables of a saved model into a model, layer by layer.

    Variables that only one of them has, such as the scores of a sub-network or the scales of batch norms, keep their
    values; kernels must be in both.

    Args:
        model: Changed.
        saved: The saved model.
        path: Its file, for messages.

    Raises:
        CheckpointError: It has other layers, or other shapes.
    """
    layers = {layer.name: {variable.name: variable for variable in layer.variables} for layer in saved.layers}
    found: list[tuple[keras.Variable, Any]] = []
    for layer in model.layers:
        for variable in layer.variables:
            value = layers.get(layer.name, {}).get(variable.name)
            if value is None and variable.name == "kernel":
                raise CheckpointError(
                    f"expected a kernel of the layer {layer.name} in {path}, found none; build the model of the file"
                )
            if value is not None and tuple(value.shape) != tuple(variable.shape):
                raise CheckpointError(
                    f"expected the shape {list(variable.shape)} of {variable.path}, {path} has {list(value.shape)}; "
                    "build the model of the file (--arch, --width_multiplier)"
                )
            if value is not None and variable.name != "density":
                found.append((variable, value))
    for variable, value in found:
        variable.assign(value)
    refresh_masks(model)


def check_not_cut(model: keras.Model, images: tf.Tensor) -> list[str]:
    """Raises an error if layers without weights cut the model in two; shortcuts can still lead around them.

    Args:
        model: Its masks are up to date.
        images: Some, different from each other, `[batch, height, width, channels]`.

    Returns:
        Names of the layers that keep no weight.

    Raises:
        PruningError: Such layers make the logits of all images equal.
    """
    names = collapsed_layers(model)
    if not names:
        return []
    logits = np.asarray(model(images, training=False), np.float64)
    if np.ptp(logits, axis=0).max() > 1e-6 * np.abs(logits).max():
        return names
    raise PruningError(
        f"no weight is left in {', '.join(names)}, so that all images look the same to the model; raise --density, "
        "or take --scope layer"
    )


def kept_numbers(model: keras.Model) -> dict[str, object]:
    """Returns how many weights of the sub-network are kept: `density`, `kept`, `prunable`, `collapsed_layers`.

    Of a sampled sub-network `kept` is the expected number.
    """
    counts = kept_counts(model)
    kept, total = round(sum(kept for kept, _ in counts.values())), sum(size for _, size in counts.values())
    return {
        "density": kept / total,
        "kept": kept,
        "prunable": total,
        "collapsed_layers": len(collapsed_layers(model)),
    }


def kept_counts(model: keras.Model) -> dict[str, tuple[float, int]]:
    """Returns how many weights each kernel of the sub-network keeps, and has; without one those of all layers.

    Of a sampled sub-network the first is the expected number.
    """
    layers = subnet_layers(model) or [layer for layer in flat_layers(model) if hasattr(layer, "kernel")]
    return {f"{layer.name}/kernel": (_kept(layer), int(np.prod(layer.kernel.shape))) for layer in layers}


def _kept(layer: keras.layers.Layer) -> float:
    """Returns how many weights of a layer are kept."""
    if not isinstance(layer, Subnet):
        return int(np.prod(layer.kernel.shape))
    if layer.selection == "sampled":
        return float(np.sum(1 / (1 + np.exp(-np.asarray(layer.scores, np.float64)))))
    return int(np.count_nonzero(layer.mask))
