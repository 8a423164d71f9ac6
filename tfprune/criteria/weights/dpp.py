"""Weights drawn by determinantal point processes, one for each unit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.base import CriterionData, DataUse
from tfprune.criteria.forward import Forward, second_moments
from tfprune.criteria.weights.base import Tensors, WeightCriterion
from tfprune.criteria.weights.registry import register_weight_criterion
from tfprune.dpp import KDPP, Spectrum, edge_kernels
from tfprune.errors import ConfigError
from tfprune.graph import Call, KernelReads, channel_groups
from tfprune.masks import Masks, layer_generator

_BYTES = 64 * 2**20
_VANISHING = 1e-60


class EdgeKernels:
    """Second moments of what the edges of each unit carry: C times w w', entry by entry.

    C are the second moments of what the kernel reads, in the model as it is and in inference mode, over examples and
    positions. An edge is a single weight: of a convolution there are as many for each filter as its window has
    positions times the channels that it reads.

    Args:
        model: A functional or sequential model. It is not changed.
        weights: The kernels by name, of `prunable_weights`.
        data: The data.

    Attributes:
        reads: How each kernel reads, by name.

    Raises:
        ConfigError: A kernel is of a layer that reads in another way than dense layers and convolutions.

    Reference:
        Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021), edge kernels.
    """

    def __init__(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: CriterionData) -> None:
        groups = channel_groups(model)
        self.reads = {name: _reads(groups.layers[name.rpartition("/")[0]], name) for name in weights}
        self._weights = {
            name: reads.units(variable)
            for (name, variable), reads in zip(weights.items(), self.reads.values(), strict=True)
        }
        self._moments = self._measured(Forward(model, groups), data)

    def carried(self, name: str) -> np.ndarray:
        """The diagonal of all kernels of a weight, float64 `[groups, units, features]`."""
        squares = np.diagonal(self._moments[name], axis1=1, axis2=2)
        return np.square(self._weights[name], dtype=np.float64) * squares[:, None]

    def kernels(self, name: str, group: int, units: np.ndarray) -> np.ndarray:
        """The kernels of some units of a group, float64 `[units, features, features]`."""
        return edge_kernels(self._weights[name][group, units], self._moments[name][group])

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
    """Keeps, of each unit, weights that carry much and unlike things: a k-DPP over its incoming edges.

    The kernel of unit i is L = C times w_i w_i', entry by entry, where C are the second moments of what its layer reads
    on the data. All units keep the same fraction of their weights, but for one more where that is no whole number;
    `scope` says whether the count is exact over the model or in every kernel.

    The ground set of a dense unit are its inputs; of a filter its single weights, window positions times channels, so
    that a 1x1 convolution is treated as the dense layer that it is. A depthwise filter has the positions of its window.
    Where more weights are to stay than the kernel's rank, as where inputs are constantly zero or examples are few, what
    is drawn is the limit of a vanishing ridge: all directions of the kernel, and others at random.

    Each unit takes an eigendecomposition: 0.03 CPU seconds for 256 weights, 0.1 for the 576 of a 3x3 filter over 64
    channels, and from there on with the third power, a minute over 512 channels; `ignore` such layers.

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
        self._refuse(iterations=1, original_ties=False, revive=False)

    def _scorer(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: Any) -> "_Edges":
        return _Edges(EdgeKernels(model, weights, CriterionData.required(data, self.name)))

    def _prune(self, scorer: Any, start: Masks, amounts: np.ndarray) -> dict[str, np.ndarray]:
        kernels: EdgeKernels = scorer.kernels
        room = {name: kernels.reads[name].units(start[name]).sum(axis=2).ravel() for name in start}
        sizes = {name: np.full(each.shape, kernels.reads[name].features) for name, each in room.items()}
        if self.scope == "global":
            shares = equal_shares(np.concatenate([*sizes.values()]), np.concatenate([*room.values()]), amounts[-1, 0])
            split = np.split(shares, np.cumsum([len(each) for each in room.values()])[:-1])
        else:
            split = [equal_shares(sizes[name], room[name], amounts[-1, i]) for i, name in enumerate(start)]
        return {
            name: self._drawn(kernels, name, start[name], counts) for name, counts in zip(start, split, strict=True)
        }

    def _drawn(self, kernels: EdgeKernels, name: str, mask: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Bool, of the kernel's shape: as many weights of each unit as `counts` says, of those that `mask` has."""
        reads, seeds = kernels.reads[name], layer_generator(self.seed, name)
        there = reads.units(mask)
        kept = np.zeros(there.shape, bool)
        for group, (left, numbers) in enumerate(zip(there, counts.reshape(there.shape[:2]), strict=True)):
            for units in _alike(left.sum(axis=1), numbers, reads.features):
                items = np.nonzero(left[units])[1].reshape(len(units), -1)
                chosen, size = items, int(numbers[units[0]])
                if size < items.shape[1]:
                    every = np.arange(len(units))[:, None, None]
                    among = kernels.kernels(name, group, units)[every, items[:, :, None], items[:, None, :]]
                    drawn = KDPP(_without_null_space(among), size).sample(1, seed=int(seeds.integers(2**31)))[:, 0]
                    chosen = np.take_along_axis(items, drawn, axis=1)
                kept[group, units[:, None], chosen] = True
        return reads.kernel(kept)


class _Edges:
    """Scores of single weights: what they carry, the diagonal of the kernels."""

    def __init__(self, kernels: EdgeKernels) -> None:
        self.kernels = kernels

    def __call__(self, masks: Tensors) -> dict[str, tf.Tensor]:
        return {name: tf.constant(self.kernels.reads[name].kernel(self.kernels.carried(name))) for name in masks}


def _alike(room: np.ndarray, numbers: np.ndarray, features: int) -> Iterator[np.ndarray]:
    """Units with the same number of weights of which the same number stays, few enough for their kernels' memory."""
    pairs, where = np.unique(np.stack([room, numbers]), axis=1, return_inverse=True)
    at_once = max(1, _BYTES // (8 * features**2))
    for index in range(pairs.shape[1]):
        units = np.flatnonzero(where.ravel() == index)
        if pairs[1, index]:
            yield from np.split(units, range(at_once, len(units), at_once))


def _without_null_space(kernels: np.ndarray) -> Spectrum:
    """Spectra whose zero eigenvalues are so small that they matter only where nothing else is left to choose."""
    spectrum = Spectrum.from_kernels(kernels)
    largest = spectrum.values[:, -1:]
    tiny = np.where(largest > 0, _VANISHING * largest, 1.0)
    return Spectrum(np.where(spectrum.values > 0, spectrum.values, tiny), spectrum.vectors)


def _reads(layer: Any, name: str) -> KernelReads:
    reads = KernelReads.of(layer)
    if reads is None:
        raise ConfigError(
            f"criterion dpp_edge: expected kernels of dense layers and convolutions, received {name} of a "
            f"{type(layer).__name__}; ignore it"
        )
    return reads


def equal_shares(sizes: np.ndarray, room: np.ndarray, total: int) -> np.ndarray:
    """Divides a number among units in proportion to their sizes, as nearly as whole numbers can.

    Args:
        sizes: Of the units, `[units]`.
        room: How much each can take at most, `[units]`; what is too much for one goes to the others.
        total: What to divide, at most the sum of the room.

    Returns:
        Whole numbers, `[units]`, whose sum is the total; of equal remainders the first ones are rounded up.

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
