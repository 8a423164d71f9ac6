"""Optimizers."""

from tfprune.optimizers.bop import Bop
from tfprune.optimizers.sgd import SGD

__all__ = ["SGD", "Bop"]
