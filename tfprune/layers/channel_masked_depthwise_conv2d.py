"""Depthwise convolution with a mask on its channels."""

from typing import Any

import keras
import tensorflow as tf

from tfprune.errors import UnsupportedLayerError
from tfprune.layers.channel_masks import add_mask, apply_masks, finish


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
