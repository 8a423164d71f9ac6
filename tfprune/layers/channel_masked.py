"""Layers with masks on the input and output channels of their kernels, as EKG's supernets have them.

A masked kernel is rescaled to the norm of the whole kernel.
"""

from typing import Any

import keras
import tensorflow as tf

from tfprune.errors import UnsupportedLayerError
from tfprune.layers.masked import SavesAllVariables
from tfprune.ops import masked_kernel


def add_mask(layer: keras.Layer, name: str, channels: int) -> keras.Variable:
    """Adds a 0/1 mask over channels to a layer, float32 `[channels]`, not trained; it keeps everything at first."""
    return layer.add_weight(
        name=name, shape=(channels,), initializer="ones", dtype="float32", trainable=False, autocast=False
    )


def apply_masks(
    layer: keras.Layer, in_mask: keras.Variable, out_mask: keras.Variable | None = None
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Returns kernel and bias of a layer with masked channels, in the layer's compute dtype.

    Args:
        layer: A built layer with `kernel` `[..., in, out]` and perhaps `bias` `[out]`.
        in_mask: 0/1 `[in]`.
        out_mask: 0/1 `[out]`; None if no output is masked.

    Returns:
        The masked kernel, rescaled to the norm of the whole one; and the bias, zero where the output is masked, or None
        if there is none.
    """
    # Norms are computed in float32 under any policy.
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


def add_bias_and_activate(layer: keras.Layer, outputs: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
    """Adds the bias along the last axis and applies the layer's activation."""
    outputs = outputs if bias is None else outputs + bias
    return outputs if layer.activation is None else layer.activation(outputs)


@keras.saving.register_keras_serializable(package="tfprune")
class ChannelMaskedDense(SavesAllVariables, keras.layers.Dense):
    """`keras.layers.Dense` with masks on input and output channels, and its kernel rescaled to its whole norm.

    Arguments are those of `keras.layers.Dense`.

    Attributes:
        in_mask: 0/1 `[in]`, not trained; everything is kept at first.
        out_mask: 0/1 `[out]`, likewise. Masked outputs, their bias included, are the activation of 0.

    Reference:
        Lee & Song, EKG (ECCV 2022).
    """

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Creates kernel, bias and masks."""
        super().build(input_shape)
        self.in_mask = add_mask(self, "in_mask", input_shape[-1])
        self.out_mask = add_mask(self, "out_mask", self.units)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Maps `[..., in]` to `[..., out]`."""
        kernel, bias = apply_masks(self, self.in_mask, self.out_mask)
        return add_bias_and_activate(self, keras.ops.matmul(inputs, kernel), bias)


@keras.saving.register_keras_serializable(package="tfprune")
class ChannelMaskedConv2D(SavesAllVariables, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with masks on input and output channels, and its kernel rescaled to its whole norm.

    Args:
        *args: Those of `keras.layers.Conv2D`.
        **kwargs: Those of `keras.layers.Conv2D`; `groups` must be 1 and `data_format` channels last.

    Attributes:
        in_mask: 0/1 `[in]`, not trained; everything is kept at first.
        out_mask: 0/1 `[filters]`, likewise. Masked outputs, their bias included, are the activation of 0.

    Raises:
        UnsupportedLayerError: The convolution is grouped or has its channels first.

    Example:
        >>> layer = ChannelMaskedConv2D(4, 3)
        >>> layer.build((None, 8, 8, 2))
        >>> layer.out_mask.assign([1, 0, 1, 1])  # doctest: +SKIP

    Reference:
        Lee & Song, EKG (ECCV 2022).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.groups != 1 or self.data_format != "channels_last":
            raise UnsupportedLayerError(
                f"layer {self.name}: expected groups=1 and channels last, received groups={self.groups} and "
                f"{self.data_format}; keep a keras.layers.Conv2D there"
            )

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Creates kernel, bias and masks."""
        super().build(input_shape)
        self.in_mask = add_mask(self, "in_mask", input_shape[-1])
        self.out_mask = add_mask(self, "out_mask", self.filters)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[batch, height, width, in]` to `[batch, height', width', filters]`."""
        kernel, bias = apply_masks(self, self.in_mask, self.out_mask)
        return add_bias_and_activate(self, self.convolution_op(inputs, kernel), bias)


@keras.saving.register_keras_serializable(package="tfprune")
class ChannelMaskedDepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` with a mask on channels, and its kernel rescaled to its whole norm.

    Args:
        *args: Those of `keras.layers.DepthwiseConv2D`.
        **kwargs: Those of `keras.layers.DepthwiseConv2D`; `data_format` must be channels last.

    Attributes:
        in_mask: 0/1 `[channels]`, not trained; everything is kept at first. It also masks the outputs of these
            channels, bias included.

    Raises:
        UnsupportedLayerError: The channels come first.

    Reference:
        Lee & Song, EKG (ECCV 2022).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.data_format != "channels_last":
            raise UnsupportedLayerError(
                f"layer {self.name}: expected channels last, received {self.data_format}; keep a "
                "keras.layers.DepthwiseConv2D there"
            )

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Creates kernel, bias and mask."""
        super().build(input_shape)
        self.in_mask = add_mask(self, "in_mask", input_shape[-1])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[batch, height, width, channels]` to `[batch, height', width', channels * depth_multiplier]`."""
        kernel, bias = apply_masks(self, self.in_mask)
        if bias is not None:
            bias = bias * tf.cast(tf.repeat(tf.convert_to_tensor(self.in_mask), self.depth_multiplier), bias.dtype)
        outputs = keras.ops.depthwise_conv(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return add_bias_and_activate(self, outputs, bias)
