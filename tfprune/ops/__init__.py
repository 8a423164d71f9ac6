"""Pure tensor functions and custom gradients."""

from tfprune.ops.fused_batch_norm import NormalizedBatch, fused_batch_norm, normalize_with, synchronized_batch_norm

__all__ = [
    "NormalizedBatch",
    "fused_batch_norm",
    "normalize_with",
    "synchronized_batch_norm",
]
