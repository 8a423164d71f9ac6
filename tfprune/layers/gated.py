"""Layers with a gate on their output channels: the gate alone, and batch norm with a gate behind it."""

from typing import Any

import keras
import tensorflow as tf

from tfprune.layers.batch_norm import FusedBatchNormalization
from tfprune.ops import channel_mask, gate, gated_affine


class GateVariables:
    """Mixin of layers with a gate on their output channels.

    Attributes:
        score: float32 `[channels]`, 0 at first; its *gradient* is the channels' importance. Not trained: watch
            `layer.score.value` on a gradient tape to read it.
        order: float32 `[channels]`, rank of each channel, 0 for the most important; all 0 before the first ranking,
            which keeps all channels.
        rate: float32 scalar, fraction of channels to keep, 1 at first.
    """

    def add_gate(self: keras.Layer, channels: int) -> None:
        """Creates the variables."""
        shapes = {"score": ((channels,), "zeros"), "order": ((channels,), "zeros"), "rate": ((), "ones")}
        for name, (shape, initializer) in shapes.items():
            variable = self.add_weight(
                name=name, shape=shape, initializer=initializer, dtype="float32", trainable=False, autocast=False
            )
            setattr(self, name, variable)

    def channel_mask(self) -> tf.Tensor:
        """Returns the gate's mask, float32 `[channels]`."""
        return channel_mask(tf.convert_to_tensor(self.order), tf.convert_to_tensor(self.rate))  # type: ignore[attr-defined]


@keras.saving.register_keras_serializable(package="tfprune")
class ChannelGate(GateVariables, keras.layers.Layer):
    """Masks channels and measures their importance, where no batch norm can have the gate, as after a residual sum.

    A layer that is called at several places is one gate: it has one mask, and importances add up.

    Attributes:
        score: See `GateVariables`.
        order: See `GateVariables`.
        rate: See `GateVariables`.

    Example:
        >>> layer = ChannelGate()
        >>> layer(keras.ops.ones((1, 4))).shape
        TensorShape([1, 4])

    Reference:
        Lee & Song, EKG (ECCV 2022).
    """

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Creates score, order and rate."""
        self.add_gate(input_shape[-1])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Masks the last axis of `[batch, ..., channels]`."""
        return gate(inputs, self.channel_mask(), tf.convert_to_tensor(self.score))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the inputs."""
        return input_shape


@keras.saving.register_keras_serializable(package="tfprune")
class ScoredBatchNormalization(GateVariables, FusedBatchNormalization):
    """Batch norm with a gate right behind it, without a pass over the activations.

    The mask multiplies scale and offset, and the importance follows from their gradients (`tfprune.ops.gated_affine`).
    Mask and importance are those of a `ChannelGate` behind a ReLU that follows: where the ReLU is 0, gradient and
    output are 0, too. Arguments are those of `FusedBatchNormalization`.

    Attributes:
        score: See `GateVariables`.
        order: See `GateVariables`.
        rate: See `GateVariables`.

    Reference:
        Lee & Song, EKG (ECCV 2022).
    """

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Creates the variables of the batch norm and of the gate."""
        super().build(input_shape)
        self.add_gate(input_shape[-1])

    def _scale_and_offset(self, channels: int) -> tuple[tf.Tensor, tf.Tensor]:
        scale, offset = super()._scale_and_offset(channels)
        return gated_affine(scale, offset, self.channel_mask(), tf.convert_to_tensor(self.score))
