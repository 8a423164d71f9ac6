"""Pure tensor functions and custom gradients."""

from tfprune.ops.channel_mask import channel_mask, keep_limit, rank_scores
from tfprune.ops.fused_batch_norm import NormalizedBatch, fused_batch_norm, normalize_with, synchronized_batch_norm
from tfprune.ops.gate import gate, gated_affine
from tfprune.ops.masked_kernel import masked_kernel
from tfprune.ops.psg import PSGSettings, psg_gradient, psg_product
from tfprune.ops.quantize import maximum, mean_of_maxima, quantize

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
