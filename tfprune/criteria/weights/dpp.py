"""Weights drawn by determinantal point processes, one for each channel."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.data import CriterionData
from tfprune.criteria.forward import second_moments
from tfprune.criteria.registry import DataUse
from tfprune.criteria.weights.criterion import Tensors, WeightCriterion, register_weight_criterion
from tfprune.dpp import KDPP, Spectrum, edge_kernels
from tfprune.errors import ConfigError
from tfprune.graph import Call, Forward, KernelReads, channel_groups, prunable_weights
from tfprune.masks import Masks, layer_generator

_BYTES = 64 * 2**20  # of the kernels that are decomposed at once
_VANISHING = 1e-60


class EdgeKernels:
    """Second moments of what the edges of each channel carry: C times w w', entry by entry.

    C are the second moments of the inputs that the kernel reads, over examples and positions, in the model as it is and
    in inference mode. An edge is a single weight: a filter has as many as its window has positions, times the channels
    that it reads.

    Args:
        model: A functional or sequential model. It is not changed.
        weights: The kernels by name, of `prunable_weights`.
        data: The data.

    Attributes:
        reads: How each kernel reads, by name.

    Raises:
        ConfigError: A kernel belongs to a layer other than dense layers, einsums and convolutions.

    Reference:
        Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021), edge kernels.
    """

    def __init__(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: CriterionData) -> None:
        groups = channel_groups(model)
        self.reads = {name: _reads(groups.layers[name.rpartition("/")[0]], name) for name in weights}
        self._weights = {
            name: reads.by_channel(variable)
            for (name, variable), reads in zip(weights.items(), self.reads.values(), strict=True)
        }
        self._moments = self._measured(Forward(model, groups), CriterionData.of(data, model))

    def carried(self, name: str) -> np.ndarray:
        """Returns the diagonals of all kernels of a weight, float64 `[groups, channels, features]`."""
        squares = np.diagonal(self._moments[name], axis1=1, axis2=2)
        return np.square(self._weights[name], dtype=np.float64) * squares[:, None]

    def kernels(self, name: str, group: int, channels: np.ndarray) -> np.ndarray:
        """Returns the kernels of some channels of a group, float64 `[channels, features, features]`."""
        return edge_kernels(self._weights[name][group, channels], self._moments[name][group])

    def _measured(self, forward: Forward, data: CriterionData) -> dict[str, np.ndarray]:
        names = {id(reads.layer): name for name, reads in self.reads.items()}

        def look(call: Call, tensors: Mapping[int, tf.Tensor]) -> Iterator[tuple[str, tf.Tensor]]:
            if name := names.get(id(call.layer)):
                for rows in self.reads[name].parts(tensors[id(call.inputs[0])]):
                    yield name, rows

        return second_moments(forward, data, look)


@register_weight_criterion("dpp_edge")
@dataclass(frozen=True, kw_only=True)
class DPPEdge(WeightCriterion):
    """Diverse weights of each channel, drawn by k-DPPs.

    One k-DPP over the incoming edges of each channel draws weights that carry much and unlike signals. The kernel of
    channel i is L = C times w_i w_i', entry by entry, where C are the second moments of what its layer reads on the
    data. All channels keep the same fraction of their weights, some one weight more where that is no whole number;
    `scope` decides whether the count is exact over the model or in every kernel.

    The ground set of a dense layer's channel are its inputs; of a filter its single weights, window positions times
    channels, so that a 1x1 convolution is treated as the dense layer that it is. A depthwise filter has the positions
    of its window. If more weights are kept than the kernel's rank, for example because inputs are constantly zero or
    examples are few, the draw is the limit of a vanishing ridge: all directions of the kernel, and others at random.

    Each channel takes an eigendecomposition: 0.03 CPU seconds for 256 weights, 0.1 for the 576 of a 3x3 filter over 64
    channels, and beyond that with the third power, a minute over 512 channels; `ignore` such layers.

    Attributes:
        seed: The same seed gives the same masks.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc")])
        >>> masks = DPPEdge()(model, 0.5, (np.eye(4, dtype=np.float32), np.zeros(4)))
        >>> masks["fc/kernel"].sum(axis=0).tolist()
        [2, 2, 2]

    Reference:
        Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021), DPP edge.
    """

    uses_data: ClassVar[DataUse] = "always"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(iterations=1, original_ties=False, revive=False)

    def scores(self, model: keras.Model, masks: Tensors, data: CriterionData | None = None) -> dict[str, np.ndarray]:
        """Scores single weights by what they carry, see `WeightCriterion.scores`; the draw depends on pairs, too."""
        kernels = EdgeKernels(model, self._weights(model, masks), CriterionData.required(data, self.name))
        return {name: kernels.reads[name].as_kernel(kernels.carried(name)) for name in masks}

    def _choose(
        self, model: keras.Model, start: Masks, counts: np.ndarray, data: CriterionData | None
    ) -> dict[str, np.ndarray]:
        kernels = EdgeKernels(model, self._weights(model, start), CriterionData.required(data, self.name))
        room = {name: kernels.reads[name].by_channel(start[name]).sum(axis=2).ravel() for name in start}
        sizes = {name: np.full(each.shape, kernels.reads[name].features) for name, each in room.items()}
        if self.scope == "global":
            shares = equal_shares(np.concatenate([*sizes.values()]), np.concatenate([*room.values()]), counts[-1, 0])
            split = np.split(shares, np.cumsum([len(each) for each in room.values()])[:-1])
        else:
            split = [equal_shares(sizes[name], room[name], counts[-1, i]) for i, name in enumerate(start)]
        return {
            name: self._drawn(kernels, name, start[name], shares) for name, shares in zip(start, split, strict=True)
        }

    def _weights(self, model: keras.Model, names: Mapping[str, object]) -> dict[str, keras.Variable]:
        weights = prunable_weights(model)
        return {name: weights[name] for name in names}

    def _drawn(self, kernels: EdgeKernels, name: str, mask: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Draws `counts` weights of each channel from those that `mask` has; bool, of the kernel's shape."""
        reads, seeds = kernels.reads[name], layer_generator(self.seed, name)
        remaining = reads.by_channel(mask)
        kept = np.zeros(remaining.shape, bool)
        for group, (left, numbers) in enumerate(zip(remaining, counts.reshape(remaining.shape[:2]), strict=True)):
            for channels in _alike(left.sum(axis=1), numbers, reads.features):
                items = np.nonzero(left[channels])[1].reshape(len(channels), -1)
                chosen, size = items, int(numbers[channels[0]])
                if size < items.shape[1]:
                    every = np.arange(len(channels))[:, None, None]
                    among = kernels.kernels(name, group, channels)[every, items[:, :, None], items[:, None, :]]
                    drawn = KDPP(_without_null_space(among), size).sample(1, seed=int(seeds.integers(2**31)))[:, 0]
                    chosen = np.take_along_axis(items, drawn, axis=1)
                kept[group, channels[:, None], chosen] = True
        return reads.as_kernel(kept)


def _alike(room: np.ndarray, numbers: np.ndarray, features: int) -> Iterator[np.ndarray]:
    """Groups channels that have the same number of weights and keep the same number, few enough for memory."""
    pairs, where = np.unique(np.stack([room, numbers]), axis=1, return_inverse=True)
    at_once = max(1, _BYTES // (8 * features**2))
    for index in range(pairs.shape[1]):
        channels = np.flatnonzero(where.ravel() == index)
        if pairs[1, index]:
            yield from np.split(channels, range(at_once, len(channels), at_once))


def _without_null_space(kernels: np.ndarray) -> Spectrum:
    """Replaces zero eigenvalues by ones so small that they matter only if nothing else is left to choose."""
    spectrum = Spectrum.from_kernels(kernels)
    largest = spectrum.values[:, -1:]
    tiny = np.where(largest > 0, _VANISHING * largest, 1.0)
    return Spectrum(np.where(spectrum.values > 0, spectrum.values, tiny), spectrum.vectors)


def _reads(layer: Any, name: str) -> KernelReads:
    reads = KernelReads.from_layer(layer)
    if reads is None:
        raise ConfigError(
            f"criterion dpp_edge: expected kernels of dense layers, einsums and convolutions, received {name} of a "
            f"{type(layer).__name__}; ignore it"
        )
    return reads


def equal_shares(sizes: np.ndarray, room: np.ndarray, total: int) -> np.ndarray:
    """Divides a number among channels in proportion to their sizes, as closely as whole numbers can.

    Args:
        sizes: Sizes of the channels, `[channels]`.
        room: How much each can take at most, `[channels]`; the excess goes to the others.
        total: The number to divide, at most the sum of the room.

    Returns:
        Whole numbers, `[channels]`, whose sum is the total; of equal remainders the first ones are rounded up.

    Example:
        >>> equal_shares(np.array([4, 4, 2]), np.array([4, 1, 2]), 5).tolist()
        [3, 1, 1]
    """
    full = room <= 0
    while True:
        rate = (total - room[full].sum()) / max(1, sizes[~full].sum())
        over = ~full & (room < rate * sizes)
        if not over.any():
            break
        full |= over
    quotas = np.where(full, room, rate * sizes)
    shares = np.floor(quotas + 1e-9).astype(np.int64)
    largest = np.argsort(shares - quotas, kind="stable")
    shares[largest[: int(total) - int(shares.sum())]] += 1
    return shares
