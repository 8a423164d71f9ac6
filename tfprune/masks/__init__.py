"""Which weights of a model stay: one mask a kernel, NumPy only."""

from tfprune.masks.masks import Masks
from tfprune.masks.ticket import Ticket

__all__ = ["Masks", "Ticket"]
