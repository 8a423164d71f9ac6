"""A model whose sub-network is picked among the weights of all layers at once."""

from typing import Any

import keras

from tfprune.layers.subnet_masks import global_layers, refresh_masks
from tfprune.layers.subnet_scope import global_selection


@keras.saving.register_keras_serializable(package="tfprune")
class GlobalSubnet(keras.Model):
    """A functional model that selects among the scores of all its sub-network layers once per training step.

    It is made and used like any functional `keras.Model`, in `fit` and in loops of your own; layers in nested models
    belong to it too. Layers of the scope `layer` select for themselves, and evaluation selects nothing.

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

    # Keras saves the graph of models only whose arguments are its own.
    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, outputs, name=name, **kwargs)
        refresh_masks(self)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Selects if in training, then runs the model."""
        selected = [layer for layer in global_layers(self) if layer.learns]
        if not training or not selected:
            return super().call(inputs, training=training, mask=mask)
        with global_selection(selected):
            return super().call(inputs, training=training, mask=mask)
