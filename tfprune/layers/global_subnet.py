"""Models with sub-network layers: one selection among all layers, refreshed masks, densities."""

from typing import Any

import keras
import numpy as np

from tfprune.errors import ConfigError
from tfprune.keras_private import flat_layers
from tfprune.layers.subnet import Subnet, check_densities, check_settings, global_selection, select_globally
from tfprune.reprs import described


@keras.saving.register_keras_serializable(package="tfprune")
class GlobalSubnet(keras.Model):
    """A functional model that selects among the scores of all its sub-network layers once per training step.

    It is used like any functional `keras.Model`, in `fit` and in custom loops, and includes the layers of nested
    models. Layers of the scope `layer` select for themselves; evaluation selects nothing.

    Args:
        inputs: As for `keras.Model`.
        outputs: As for `keras.Model`.
        name: As for `keras.Model`.
        **kwargs: As for `keras.Model`.

    Raises:
        ConfigError: The layers of the scope `global` have different densities.

    Example:
        >>> from tfprune.layers import SubnetDense
        >>> inputs = keras.Input((8,))
        >>> hidden = SubnetDense(16, density=0.5, scope="global")(inputs)
        >>> model = GlobalSubnet(inputs, SubnetDense(2, density=0.5, scope="global")(hidden))
        >>> sum(int(keras.ops.sum(layer.mask)) for layer in model.layers[1:])
        80

    Reference:
        Diffenderfer et al., "A Winning Hand" (NeurIPS 2021).
    """

    # Keras saves the graph only of models with the same arguments as its own.
    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, outputs, name=name, **kwargs)
        refresh_masks(self)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Selects masks in training, then runs the model."""
        selected = [layer for layer in global_layers(self) if layer.learns]
        if not training or not selected:
            return super().call(inputs, training=training, mask=mask)
        with global_selection(selected):
            return super().call(inputs, training=training, mask=mask)


def subnet_layers(model: keras.Layer) -> list[Subnet]:
    """Returns the sub-network layers of a model and of the models nested in it, each once, in the model's order."""
    if not isinstance(model, keras.Layer):
        raise ConfigError(f"model: expected a Keras model, received {described(model)}")
    return [layer for layer in flat_layers(model) if isinstance(layer, Subnet)]


def global_layers(model: keras.Layer) -> list[Subnet]:
    """Returns the sub-network layers of a model whose masks are selected together."""
    return [layer for layer in subnet_layers(model) if layer.scope == "global" and layer.selection == "top"]


def refresh_masks(model: keras.Layer) -> None:
    """Updates the masks to the present scores, as the next training step would.

    Call it before evaluation or saving, so that the last update of the scores takes effect; `SubnetMasks` does so in
    `fit`.

    Args:
        model: A model with any number of sub-network layers, whose masks are changed.

    Raises:
        ConfigError: Layers of the scope `global` have different densities.
    """
    for layer in subnet_layers(model):
        if layer.scope == "layer" and layer.selection == "top":
            layer.select()
    check_densities(global_layers(model))
    select_globally(global_layers(model))


def set_density(model: keras.Layer, density: float) -> None:
    """Sets the fraction of weights that all sub-network layers of a model keep, and refreshes the masks.

    Args:
        model: The model. It is changed.
        density: Fraction of weights to keep, in (0, 1].

    Raises:
        ConfigError: The density is out of range.
    """
    check_settings(density)
    for layer in subnet_layers(model):
        layer.density.assign(np.float64(density))
    refresh_masks(model)


def collapsed_layers(model: keras.Layer) -> list[str]:
    """Returns the names of the sub-network layers that keep no weight, so that nothing passes through them.

    That happens with the scope `global` if a layer's scores are all small.
    """
    return [layer.name for layer in subnet_layers(model) if not np.asarray(layer.mask).any()]
