"""Which weights of a model stay: one mask a kernel, NumPy only."""

from tfprune.masks.masks import Masks
from tfprune.masks.rearranged import inverse_masks, layer_generator, rearranged_masks
from tfprune.masks.shuffled_weights import shuffled_weights
from tfprune.masks.ticket import Ticket

__all__ = ["Masks", "Ticket", "inverse_masks", "layer_generator", "rearranged_masks", "shuffled_weights"]
