"""A gate as a layer of its own."""

from typing import Any

import keras
import tensorflow as tf

from tfprune.layers.gate_variables import GateVariables
from tfprune.ops import gate


@keras.saving.register_keras_serializable(package="tfprune")
class ChannelGate(GateVariables, keras.layers.Layer):
    """Masks channels and measures their importance, for places without a batch norm of their own.

    Behind a residual sum, say. Called at several places it is one gate: the mask is the same, importances add up.

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
        """The shape of the inputs."""
        return input_shape
