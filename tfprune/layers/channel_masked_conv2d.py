"""Convolution with masks on its input and output channels."""

from typing import Any

import keras
import tensorflow as tf

from tfprune.errors import UnsupportedLayerError
from tfprune.layers.channel_masks import SavesMasks, add_mask, apply_masks, finish


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
