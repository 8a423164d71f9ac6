"""Pure tensor functions and custom gradients."""

from tfprune.ops.channel_mask import channel_mask, keep_limit, rank_scores
from tfprune.ops.fused_batch_norm import NormalizedBatch, fused_batch_norm, normalize_with, synchronized_batch_norm
from tfprune.ops.gate import gate, gated_affine
from tfprune.ops.masked_kernel import masked_kernel

__all__ = [
    "NormalizedBatch",
    "channel_mask",
    "fused_batch_norm",
    "gate",
    "gated_affine",
    "keep_limit",
    "masked_kernel",
    "normalize_with",
    "rank_scores",
    "synchronized_batch_norm",
]
