"""Tensor functions and custom gradients: batch norm, channel masks, predicted gradients, sub-networks, selection."""

from tfprune.ops.batch_norm import NormalizedBatch, fused_batch_norm, normalize_with, synchronized_batch_norm
from tfprune.ops.channel_mask import channel_mask, gate, gated_affine, keep_limit, masked_kernel, rank_scores
from tfprune.ops.psg import PSGSettings, maximum, mean_of_maxima, psg_gradient, psg_product, quantize

__all__ = [
    "NormalizedBatch",
    "PSGSettings",
    "channel_mask",
    "fused_batch_norm",
    "gate",
    "gated_affine",
    "keep_limit",
    "masked_kernel",
    "maximum",
    "mean_of_maxima",
    "normalize_with",
    "psg_gradient",
    "psg_product",
    "quantize",
    "rank_scores",
    "synchronized_batch_norm",
]
