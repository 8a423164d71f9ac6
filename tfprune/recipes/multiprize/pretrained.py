"""Networks of other runs, or of the authors, to start from or to measure."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfprune.errors import CheckpointError, ConfigError
from tfprune.layers import refresh_masks, set_density
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.models import load_checkpoint
from tfprune.recipes.multiprize.config import MultiPrizeConfig
from tfprune.recipes.multiprize.network import drawn_network, trainable_network
from tfprune.recipes.multiprize.original_checkpoint import load_original

_ORIGINAL = (".pth", ".pt", ".state", ".tar")


def saved_network(config: MultiPrizeConfig, path: str, data: ImageDataset) -> keras.Model:
    """The network in a file, with its own masks, or with those of the density that the settings ask for.

    Args:
        config: The settings.
        path: A `.keras` file of ours, or a checkpoint of the authors.
        data: The data set that it is for.

    Returns:
        The network.

    Raises:
        CheckpointError: The file is missing, damaged, hostile, or belongs to another network.
        ConfigError: A checkpoint of the authors is to be a dense network.
    """
    if Path(path).suffix not in _ORIGINAL:
        network = load_checkpoint(path, arch=config.arch, num_classes=data.num_classes, input_shape=data.input_shape)
    elif config.dense:
        raise ConfigError(f"--dense: expected a .keras file, as {path} is read as one of sub-networks; leave it out")
    else:
        network = trainable_network(config, drawn_network(config, data), tf.distribute.get_strategy())
        load_original(path, network)
    if config.density is not None:
        set_density(network, config.density)
    return network


def start_from(network: keras.Model, saved: keras.Model, path: str) -> None:
    """Gives a network the variables of another one, layer by layer.

    Where one of them has variables that the other has not, such as the scores of a sub-network or scales of batch
    norms, these stay as they are; kernels must be there.

    Args:
        network: Changed.
        saved: The other one.
        path: Where it comes from.

    Raises:
        CheckpointError: It has other layers, or others of their shapes.
    """
    layers = {layer.name: {variable.name: variable for variable in layer.variables} for layer in saved.layers}
    found: list[tuple[keras.Variable, Any]] = []
    for layer in network.layers:
        for variable in layer.variables:
            value = layers.get(layer.name, {}).get(variable.name)
            if value is None and variable.name == "kernel":
                raise CheckpointError(
                    f"expected a kernel of the layer {layer.name} in {path}, found none; build the network of the file"
                )
            if value is not None and tuple(value.shape) != tuple(variable.shape):
                raise CheckpointError(
                    f"expected the shape {list(variable.shape)} of {variable.path}, {path} has {list(value.shape)}; "
                    "build the network of the file (--arch, --width_multiplier)"
                )
            if value is not None and variable.name != "density":
                found.append((variable, value))
    for variable, value in found:
        variable.assign(value)
    refresh_masks(network)
