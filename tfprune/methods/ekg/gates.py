"""The gates of a model: which channels each setting of orders and rates keeps."""

from dataclasses import dataclass, field

import numpy as np

from tfprune.graph import ChannelGroups
from tfprune.ops import keep_limit, rank_scores


@dataclass(frozen=True)
class SubNetwork:
    """One setting of all gates.

    Attributes:
        orders: Rank of every channel within its group, 0 for the most important, float32 `[channels]`.
        rates: Fraction of channels that each gate keeps, float64 `[groups]`.
        loss: Label loss on the search's validation images.
    """

    orders: np.ndarray
    rates: np.ndarray
    loss: float = field(default=float("nan"))


class Gates:
    """Turns scores into orders, and orders and rates into channel masks, group by group.

    Args:
        groups: The channel groups of a model.
        search_step: Fraction of its width that a gate gives up in one step, if a single layer makes its channels.
    """

    def __init__(self, groups: ChannelGroups, search_step: float) -> None:
        self.groups = groups
        sizes = np.array([group.size for group in groups])
        makers = np.array([len(group.layers) for group in groups])
        self.sizes = sizes
        self.fine_steps = 1 / sizes
        self.steps = np.maximum(self.fine_steps, search_step / makers)

    def orders(self, scores: np.ndarray) -> np.ndarray:
        """Ranks of all channels `[channels]` within their groups, by descending score; ties by position."""
        return np.concatenate([rank_scores(scores[group.channels]) for group in self.groups])

    def mask(self, orders: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Bool `[channels]`, True for kept channels; every gate keeps at least one."""
        limits = [keep_limit(size, rate) for size, rate in zip(self.sizes, rates, strict=True)]
        return orders < np.repeat(limits, self.sizes)

    def kept(self, group: int, rate: float) -> int:
        """Channels that a gate keeps at a rate, once its channels are ranked."""
        return int(np.ceil(keep_limit(self.sizes[group], rate)))
