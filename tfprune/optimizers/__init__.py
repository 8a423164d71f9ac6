"""Optimizers."""

from tfprune.optimizers.adam import Adam
from tfprune.optimizers.bop import Bop
from tfprune.optimizers.sgd import SGD

__all__ = ["SGD", "Adam", "Bop"]
