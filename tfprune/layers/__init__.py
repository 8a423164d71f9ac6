"""Keras layers: faster batch norm, masked kernels, gates."""

from tfprune.layers.channel_gate import ChannelGate
from tfprune.layers.fused_batch_normalization import FusedBatchNormalization
from tfprune.layers.masked_conv2d import MaskedConv2D
from tfprune.layers.masked_dense import MaskedDense
from tfprune.layers.masked_depthwise_conv2d import MaskedDepthwiseConv2D
from tfprune.layers.scored_batch_normalization import ScoredBatchNormalization

__all__ = [
    "ChannelGate",
    "FusedBatchNormalization",
    "MaskedConv2D",
    "MaskedDense",
    "MaskedDepthwiseConv2D",
    "ScoredBatchNormalization",
]
