"""Batch norm with a gate on its channels."""

from typing import Any

import keras
import tensorflow as tf

from tfprune.layers.fused_batch_normalization import FusedBatchNormalization
from tfprune.layers.gate_variables import GateVariables
from tfprune.ops import gated_affine


@keras.saving.register_keras_serializable(package="tfprune")
class ScoredBatchNormalization(GateVariables, FusedBatchNormalization):
    """Batch norm with a gate right after it, which costs no pass over the activations.

    The mask multiplies scale and offset, and the importance follows from their gradients (`tfprune.ops.gated_affine`).
    It is the same mask and importance as those of a `ChannelGate` behind the ReLU that follows: where the ReLU is shut
    both gradient and output vanish. Arguments are those of `FusedBatchNormalization`.

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
