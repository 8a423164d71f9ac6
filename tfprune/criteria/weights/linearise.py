"""Making models linear, as far as inputs are positive."""

from typing import Any

import keras

_LINEAR_ABOVE = ("elu", "selu", "gelu", "silu", "swish", "mish", "celu", "relu6", "hard_silu", "hard_swish", "softplus")
"""Activations that are nearly the identity far above 0, or were without their ceiling."""

_KEPT_AT_THE_END = ("linear", "relu", "leaky_relu", *_LINEAR_ABOVE)


def linear_layer(layer: keras.Layer, at_the_end: bool) -> None:
    """Changes a layer so that a flow passes through its activation unchanged, where it is positive.

    Rectifiers stay as they are. Activations that are nearly the identity far above 0, such as gelu, and rectifiers with
    a ceiling, become rectifiers: their gradients at the sizes that flows grow to would be 0 or rounded. Activations
    that level off, such as softmax, are left out where the model ends; within it they stay, being gates in general.

    Args:
        layer: A layer that is not built yet. It is changed.
        at_the_end: Whether it gives an output of the model.
    """
    if isinstance(layer, keras.layers.ReLU):
        layer.max_value = None
        layer.threshold = 0.0
        return
    name = _activation(layer)
    if name is None:
        return
    if at_the_end and name not in _KEPT_AT_THE_END:
        _set(layer, keras.activations.linear)
    elif name in _LINEAR_ABOVE:
        _set(layer, keras.activations.relu)


def _activation(layer: Any) -> str | None:
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    activation = getattr(layer, "activation", None)
    return getattr(activation, "__name__", None) if callable(activation) else None


def _set(layer: Any, activation: Any) -> None:
    if isinstance(layer, keras.layers.Softmax):
        layer.call = lambda inputs, mask=None: inputs
    else:
        layer.activation = activation
