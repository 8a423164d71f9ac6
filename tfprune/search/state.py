"""The state of a search: gates and their settings, candidates, steps, and the result."""

from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from tfprune.arguments import instance, number
from tfprune.graph import ChannelGroups, slim
from tfprune.landscape.measure import Landscape
from tfprune.ops import keep_limit, rank_scores
from tfprune.pruning.recalibration import recalibrate_batch_norm
from tfprune.reprs import short_repr


@dataclass(frozen=True)
class Candidate:
    """One width decrement that a step tried.

    Attributes:
        gate: Index of the gate.
        rate: Fraction of channels that it would keep.
        params: Parameters of the sub-network.
        flops: FLOPs of the sub-network.
        accuracy: Top-1 accuracy on the validation images.
        loss: Label loss.
        score: Label loss plus cross-entropy to the ensemble; the lowest one wins.
    """

    gate: int
    rate: float
    params: int
    flops: int
    accuracy: float = float("nan")
    loss: float = float("nan")
    score: float = float("nan")


@dataclass(frozen=True)
class Step:
    """One step of a search.

    Attributes:
        scores: Importance of all channels at its start.
        orders: Their ranks.
        candidates: The candidates that it tried, in the order of the gates.
        chosen: The one that it accepted.
    """

    scores: np.ndarray
    orders: np.ndarray
    candidates: tuple[Candidate, ...]
    chosen: Candidate

    __repr__ = short_repr


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

    __repr__ = short_repr


@dataclass(frozen=True)
class SearchState:
    """Everything a search needs to continue; stored after every step, it is enough to resume one that was killed.

    Attributes:
        rates: Fraction of channels that each gate keeps.
        orders: Ranks of all channels in the accepted sub-network.
        knowledge: Mean logits `[images, classes]` of all sub-networks accepted so far, the start included.
        members: How many these are.
        history: The start and every accepted sub-network, the current one last.
        params: Parameters of the current one.
        flops: FLOPs of the current one.
        accuracy: Its top-1 accuracy on the validation images.
    """

    rates: np.ndarray
    orders: np.ndarray
    knowledge: np.ndarray
    members: int
    history: tuple[SubNetwork, ...]
    params: int
    flops: int
    accuracy: float

    __repr__ = short_repr

    @property
    def loss(self) -> float:
        """Label loss of the current sub-network."""
        return self.history[-1].loss


class Gates:
    """Turns scores into orders, and orders and rates into channel masks, group by group.

    Args:
        groups: The channel groups of a model.
        search_step: Fraction of its width that a gate gives up in one step, if a single layer makes its channels.
    """

    def __init__(self, groups: ChannelGroups, search_step: float) -> None:
        self.groups = instance("groups", groups, ChannelGroups, "the channel groups of a model")
        search_step = number("search_step", search_step, above=0, at_most=1)
        sizes = np.array([group.size for group in groups])
        makers = np.array([len(group.layers) for group in groups])
        self.sizes = sizes
        self.fine_steps = 1 / sizes
        self.steps = np.maximum(self.fine_steps, search_step / makers)

    def orders(self, scores: np.ndarray) -> np.ndarray:
        """Returns the ranks of all channels `[channels]` in their groups, by descending score; ties by position."""
        return np.concatenate([rank_scores(scores[group.channels]) for group in self.groups])

    def mask(self, orders: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Returns bool `[channels]`, True for kept channels; every gate keeps at least one."""
        limits = [keep_limit(size, rate) for size, rate in zip(self.sizes, rates, strict=True)]
        return orders < np.repeat(limits, self.sizes)

    def kept(self, group: int, rate: float) -> int:
        """Returns how many channels a gate keeps at a rate, once its channels are ranked."""
        return int(np.ceil(keep_limit(self.sizes[group], rate)))


@dataclass(frozen=True)
class SearchResult:
    """A finished search.

    Attributes:
        model: The model searched in.
        groups: Its channel groups.
        gates: Their gates.
        history: The start and the interim sub-networks, the final one left out.
        final: The sub-network at the target.
        knowledge: The ensemble's logits `[images, classes]`.
        params: Parameters of the final sub-network.
        flops: FLOPs of the final sub-network.
        examples: The examples on which `slim` measures the averages of batch norms; None to leave the old ones.
        landscapes: The loss landscape of each accepted sub-network, the final one last; empty if they were not wanted.
    """

    model: keras.Model
    groups: ChannelGroups
    gates: Gates
    history: tuple[SubNetwork, ...]
    final: SubNetwork
    knowledge: np.ndarray
    params: int
    flops: int
    examples: np.ndarray | None = field(default=None, repr=False)
    landscapes: tuple[Landscape, ...] = field(default=(), repr=False)

    __repr__ = short_repr

    def slim(self) -> keras.Model:
        """Returns the final sub-network as a smaller plain Keras model.

        Its batch norms' moving averages are measured on `examples`; without any, the old ones stay, which do not fit.
        """
        mask = self.gates.mask(self.final.orders, self.final.rates)
        small = slim(self.model, mask, self.groups, rescale_kernels=True)
        if self.examples is not None:
            batches = tf.data.Dataset.from_tensor_slices({"images": self.examples}).batch(256)
            recalibrate_batch_norm(small, batches)
        return small
