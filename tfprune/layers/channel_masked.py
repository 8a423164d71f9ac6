"""What the masked layers share: mask variables, and the kernel that they give."""

from collections.abc import MutableMapping
from typing import Any

import keras
import tensorflow as tf

from tfprune.errors import UnsupportedLayerError
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


@keras.saving.register_keras_serializable(package="tfprune")
class ChannelMaskedDense(SavesMasks, keras.layers.Dense):
    """`keras.layers.Dense` whose kernel is masked on both axes and rescaled to the norm it has whole.

    Arguments are those of `keras.layers.Dense`.

    Attributes:
        in_mask: 0/1 `[in]`, not trained; everything is kept at first.
        out_mask: 0/1 `[units]`, likewise. Masked outputs, their bias included, are what the activation makes of 0.

    Reference:
        Lee & Song, EKG (ECCV 2022).
    """

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Creates kernel, bias and masks."""
        super().build(input_shape)
        self.in_mask = add_mask(self, "in_mask", input_shape[-1])
        self.out_mask = add_mask(self, "out_mask", self.units)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Maps `[..., in]` to `[..., units]`."""
        kernel, bias = apply_masks(self, self.in_mask, self.out_mask)
        return finish(self, keras.ops.matmul(inputs, kernel), bias)


@keras.saving.register_keras_serializable(package="tfprune")
class ChannelMaskedConv2D(SavesMasks, keras.layers.Conv2D):
    """`keras.layers.Conv2D` whose kernel is masked on both channel axes and rescaled to the norm it has whole.

    Args:
        *args: Those of `keras.layers.Conv2D`.
        **kwargs: Those of `keras.layers.Conv2D`; `groups` must be 1 and `data_format` channels last.

    Attributes:
        in_mask: 0/1 `[in]`, not trained; everything is kept at first.
        out_mask: 0/1 `[filters]`, likewise. Masked outputs, their bias included, are what the activation makes of 0.

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
                f"{self.data_format}; leave it a plain Conv2D"
            )

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Creates kernel, bias and masks."""
        super().build(input_shape)
        self.in_mask = add_mask(self, "in_mask", input_shape[-1])
        self.out_mask = add_mask(self, "out_mask", self.filters)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[batch, height, width, in]` to `[batch, height', width', filters]`."""
        kernel, bias = apply_masks(self, self.in_mask, self.out_mask)
        return finish(self, self.convolution_op(inputs, kernel), bias)


@keras.saving.register_keras_serializable(package="tfprune")
class ChannelMaskedDepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` whose kernel is masked by channel and rescaled to the norm it has whole.

    Args:
        *args: Those of `keras.layers.DepthwiseConv2D`.
        **kwargs: Those of `keras.layers.DepthwiseConv2D`; `data_format` must be channels last.

    Attributes:
        in_mask: 0/1 `[channels]`, not trained; everything is kept at first. It masks the channels' outputs too, bias
            included.

    Raises:
        UnsupportedLayerError: The channels come first.

    Reference:
        Lee & Song, EKG (ECCV 2022).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.data_format != "channels_last":
            raise UnsupportedLayerError(
                f"layer {self.name}: expected channels last, received {self.data_format}; leave it as it is"
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
        return finish(self, outputs, bias)
