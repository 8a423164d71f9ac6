"""Layers without bias and activation: what kernels make of inputs, and nothing else."""

from typing import Any

import keras

from tfprune.errors import ConfigError
from tfprune.graph.copied_layer import copied_layer

layers = keras.layers

_KINDS = (
    layers.Dense,
    layers.EinsumDense,
    layers.Embedding,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
_WITHOUT = {"activation": "linear", "use_bias": False, "bias_axes": None, "activity_regularizer": None}


def bare_layer(layer: Any, shape: Any) -> keras.Layer:
    """A layer whose outputs are another one's before bias and activation.

    Args:
        layer: A dense layer, embedding or convolution (depthwise, separable, transposed ones too), built. It is not
            changed.
        shape: Shape of its inputs, batch included.

    Returns:
        The layer itself, if it has neither; else a new one with the same kernels as they are now.

    Raises:
        ConfigError: The layer is of another kind, and may compute anything.

    Example:
        >>> dense = keras.layers.Dense(2, activation="relu", bias_initializer="ones", kernel_initializer="identity")
        >>> dense.build((None, 2))
        >>> bare_layer(dense, (None, 2))(keras.ops.array([[-1.0, 5.0]])).numpy().tolist()
        [[-1.0, 5.0]]
    """
    if not isinstance(layer, _KINDS):
        raise ConfigError(
            f"data: expected dense layers, embeddings and convolutions, received {layer.name} "
            f"({type(layer).__name__}), whose outputs are not what its kernels make of inputs; ignore it, or leave out "
            "the data"
        )
    plain = getattr(layer, "activation", None) in (None, keras.activations.linear)
    if plain and getattr(layer, "bias", None) is None:
        return layer
    config = layer.get_config()
    changes = {key: _always(value) for key, value in _WITHOUT.items() if key in config}
    changes |= {key: _always("zeros") for key in config if key.endswith("_initializer")}
    bare = copied_layer(layer, changes)
    bare.build(shape)
    for variable in bare.weights:
        variable.assign(getattr(layer, variable.name))
    return bare


def _always(value: Any) -> Any:
    return lambda _: value
