"""The masks of all sub-network layers of a model."""

import keras
import numpy as np

from tfprune.layers.subnet import Subnet, check_settings
from tfprune.layers.subnet_scope import check_densities, select_globally


def subnet_layers(model: keras.Layer) -> list[Subnet]:
    """The sub-network layers of a model and of the models nested in it, each once, in the model's order."""
    return [layer for layer in model._flatten_layers() if isinstance(layer, Subnet)]


def global_layers(model: keras.Layer) -> list[Subnet]:
    """Those of a model's sub-network layers whose masks are selected together."""
    return [layer for layer in subnet_layers(model) if layer.scope == "global" and layer.selection == "top"]


def refresh_masks(model: keras.Layer) -> None:
    """Makes the masks follow the present scores, as the next training step would.

    Call it before evaluating or saving, if the last update of the scores is to count; `SubnetMasks` does so in `fit`.

    Args:
        model: With any number of sub-network layers, whose masks are changed.

    Raises:
        ConfigError: Layers of the scope `global` have different densities.
    """
    for layer in subnet_layers(model):
        if layer.scope == "layer" and layer.selection == "top":
            layer.select()
    check_densities(global_layers(model))
    select_globally(global_layers(model))


def set_density(model: keras.Layer, density: float) -> None:
    """Sets the share of weights that all sub-network layers of a model keep, and refreshes the masks.

    Args:
        model: Changed.
        density: In (0, 1].

    Raises:
        ConfigError: The density cannot be used.
    """
    check_settings(density)
    for layer in subnet_layers(model):
        layer.density.assign(np.float64(density))
    refresh_masks(model)


def collapsed_layers(model: keras.Layer) -> list[str]:
    """Names of the sub-network layers that keep no weight at all, so that nothing passes through them.

    That happens with the scope `global` where a layer's scores are all small.
    """
    return [layer.name for layer in subnet_layers(model) if not np.asarray(layer.mask).any()]
