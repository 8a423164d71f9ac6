"""Keras layers."""

from tfprune.layers.fused_batch_normalization import FusedBatchNormalization

__all__ = ["FusedBatchNormalization"]
