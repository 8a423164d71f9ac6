"""Which weights of a model stay: one mask a kernel, NumPy only."""

from tfprune.masks.masks import Masks

__all__ = ["Masks"]
