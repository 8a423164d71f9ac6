"""Dense layer with masks on its inputs and outputs."""

from typing import Any

import keras
import tensorflow as tf

from tfprune.layers.channel_masks import SavesMasks, add_mask, apply_masks, finish


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
