"""Optimizers."""

from tfprune.optimizers.sgd import SGD

__all__ = ["SGD"]
