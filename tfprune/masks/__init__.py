"""Which weights of a model are kept: one mask per kernel, in NumPy."""

from tfprune.masks.masks import Masks
from tfprune.masks.ticket import Ticket, inverse_masks, layer_generator, rearranged_masks, shuffled_weights

__all__ = ["Masks", "Ticket", "inverse_masks", "layer_generator", "rearranged_masks", "shuffled_weights"]
