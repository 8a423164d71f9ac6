"""What the masked layers share: mask variables, and the kernel that they give."""

from collections.abc import MutableMapping
from typing import Any

import keras
import tensorflow as tf

from tfprune.ops import masked_kernel


class SavesMasks:
    """Mixin of layers whose Keras parent saves kernel and bias by name and would leave the masks out."""

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Puts all the layer's variables into a file."""
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Takes all the layer's variables from a file."""
        keras.layers.Layer.load_own_variables(self, store)


def add_mask(layer: keras.Layer, name: str, channels: int) -> keras.Variable:
    """Gives a layer a 0/1 mask over channels, float32 `[channels]`, not trained, that keeps everything at first."""
    return layer.add_weight(
        name=name, shape=(channels,), initializer="ones", dtype="float32", trainable=False, autocast=False
    )


def apply_masks(
    layer: keras.Layer, in_mask: keras.Variable, out_mask: keras.Variable | None = None
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Kernel and bias of a layer with masked channels, in the layer's compute type.

    Args:
        layer: A built layer with `kernel` `[..., in, out]` and perhaps `bias` `[out]`.
        in_mask: `[in]`.
        out_mask: `[out]`.

    Returns:
        The kernel, rescaled to its whole norm, and the bias, zero where the output is masked; None if there is none.
    """
    # Norms are taken in float32 whatever the policy.
    kernel = tf.cast(tf.convert_to_tensor(layer.kernel), tf.float32)
    outputs = None if out_mask is None else tf.convert_to_tensor(out_mask)
    masked = masked_kernel(kernel, tf.convert_to_tensor(in_mask), outputs)
    bias = None
    if layer.use_bias:
        bias = tf.convert_to_tensor(layer.bias)
        if outputs is not None:
            bias = bias * tf.cast(outputs, bias.dtype)
        bias = tf.cast(bias, layer.compute_dtype)
    return tf.cast(masked, layer.compute_dtype), bias


def finish(layer: keras.Layer, outputs: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
    """Adds the bias along the last axis and applies the layer's activation."""
    outputs = outputs if bias is None else outputs + bias
    return outputs if layer.activation is None else layer.activation(outputs)
