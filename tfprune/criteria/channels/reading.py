"""Criteria by what the kernels that read a channel make of it on data: its fluctuation, or the error without it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from tfprune.arguments import number
from tfprune.criteria.channels.criterion import (
    Normalize,
    combine,
    kernel_axes,
    normalized,
    require_scores,
    sum_by_channel,
)
from tfprune.criteria.data import CriterionData
from tfprune.criteria.moments import InputMoments, KernelInputs, inverse_factor
from tfprune.criteria.registry import DataUse, register_criterion
from tfprune.errors import check_choice
from tfprune.graph import PINNED, ChannelGroups, KernelReads

_APART = 1 + 1e-12


@dataclass(frozen=True)
class ReadingCriterion(ABC):
    """Base class of criteria that look at the kernels which read a channel, and at what these read on data.

    A channel that several kernels read, or one kernel along several axes, has the sum of its scores. Kernels that
    `KernelReads` does not describe, such as those of recurrent layers, do not count. Kernels are looked at one after
    the other, so that moments of one are in memory at a time, see `tfprune.criteria.moments`.
    """

    name: ClassVar[str]
    uses_data: ClassVar[DataUse] = "always"
    products: ClassVar[bool]

    @abstractmethod
    def _of_reader(
        self, weights: np.ndarray, moments: InputMoments, channels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores the channels that a kernel reads along an axis.

        Args:
            weights: The kernel, float64 `[groups, channels of a group, features]`.
            moments: Those of what it reads.
            channels: The channel of each feature, or `PINNED`, `[groups, features]`.

        Returns:
            Distinct channels, and a score for each.
        """

    def _summed(self, model: keras.Model, groups: ChannelGroups, data: Any) -> np.ndarray:
        """Returns the sums of the scores over all readers, `[channels]`; NaN for channels without any."""
        source = CriterionData.required(data, self.name, model)
        parts = self._parts(model, groups, source)
        message = f"criterion {self.name}: no dense layer, einsum or convolution reads a prunable channel; use random"
        return require_scores(combine(parts, groups.channels, "sum"), message)

    def _parts(
        self, model: keras.Model, groups: ChannelGroups, data: CriterionData
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        axes = kernel_axes(groups, ("in",))
        variables = {str(id(axis.variable)): axis.variable for axis in axes}
        inputs = KernelInputs(model, variables, groups)
        known = {name: variables[name] for name in inputs.reads}
        for name, moments in inputs.moments(data, products=self.products) if known else ():
            reads, variable = inputs.reads[name], known[name]
            weights = reads.by_channel(variable).astype(np.float64)
            for axis in axes:
                if axis.variable is variable:
                    channels = _of_features(reads, axis.axis, axis.channels)
                    if channels is not None:
                        yield self._of_reader(weights, moments, channels)


def _of_features(reads: KernelReads, axis: int, channels: np.ndarray) -> np.ndarray | None:
    """Returns the channel of each feature, `[groups, features]`; None if features do not run along the axis."""
    shape = [1] * len(reads.variable.shape)
    shape[axis] = len(channels)
    everywhere = reads.by_channel(np.broadcast_to(channels.reshape(shape), reads.variable.shape))
    first = everywhere[:, :1]
    return first[:, 0] if (everywhere == first).all() else None


@register_criterion("flap")
@dataclass(frozen=True)
class FLAP(ReadingCriterion):
    """Fluctuation of a channel on data, times the squared norm of the weights that read it.

    The score of channel j is the sum of var(x_j) |w_j|^2 over the readers' features that hold it: the sample variance
    over examples and positions, times the squared weights of all outputs. A channel that hardly fluctuates can be
    replaced by its mean; `plan.apply(reweight=data)` makes up for more than that, so the paper's biases are not set.

    Attributes:
        normalize: See `Normalize`; `standard`, as in the paper, lets layers of unlike scales be ranked together.

    Reference:
        An et al., Fluctuation-based Adaptive Structured Pruning for Large Language Models (AAAI 2024), metric
        WIFV.
    """

    name: ClassVar[str] = "flap"
    products: ClassVar[bool] = False
    normalize: Normalize = "standard"

    def __post_init__(self) -> None:
        check_choice("normalize", self.normalize, Normalize)

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Returns the scores `[channels]`; NaN for channels without a reader.

        Raises:
            ConfigError: There is no data, or it cannot be used.
        """
        return normalized(self._summed(model, groups, data), groups, self.normalize)

    def _of_reader(
        self, weights: np.ndarray, moments: InputMoments, channels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        variances = np.maximum(moments.squares - np.square(moments.means), 0) * moments.rows / max(1, moments.rows - 1)
        return sum_by_channel(channels.ravel(), (variances * np.square(weights).sum(axis=1)).ravel())


@register_criterion("ziplm")
@dataclass(frozen=True)
class ZipLM(ReadingCriterion):
    """Error of the layers that read a channel, after least squares on all channels that are left.

    Of each reader, channels are removed one after the other, always the one that costs least: tr(W_S (H^-1)_SS^-1 W_S')
    for the features S that hold it, where H are the second moments of what the kernel W reads, plus `damping` times
    their mean diagonal. Then the other weights make up for it, and H^-1 is that of the features left. The score is that
    cost, as a fraction of the mean square of the reader's outputs before bias, but never below that of a channel that
    goes before. A channel alike to another one so gets a low score only if it goes first.

    The criterion only scores: `plan.apply(reweight=data)` updates the weights. Each reader takes of the order of
    n F^2 f operations for n channels, F features and f features for each channel.

    Attributes:
        damping: Fraction of the mean diagonal of the moments that is added to it, above 0.

    Reference:
        Kurtic et al., ZipLM: Inference-Aware Structured Pruning of Language Models (NeurIPS 2023);
        Hassibi & Stork, Second order derivatives for network pruning: Optimal Brain Surgeon (1992).
    """

    name: ClassVar[str] = "ziplm"
    products: ClassVar[bool] = True
    damping: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "damping", number("damping", self.damping, above=0))

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Returns the scores `[channels]`; NaN for channels without a reader.

        Raises:
            ConfigError: There is no data, or it cannot be used.
        """
        return self._summed(model, groups, data)

    def _of_reader(
        self, weights: np.ndarray, moments: InputMoments, channels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        grams = np.matmul(weights.transpose(0, 2, 1), weights)
        power = float(np.sum(grams * moments.pairs))
        factors = [inverse_factor(each, self.damping) for each in moments.pairs]
        inverses = np.stack([each.T @ each for each in factors])
        distinct, costs = removal_costs(inverses, grams, channels)
        return distinct, costs / (power or 1.0)


def removal_costs(inverses: np.ndarray, grams: np.ndarray, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Removes channels from what a kernel reads, one after the other, the cheapest first.

    Args:
        inverses: The inverse of H, float64 `[groups, features, features]`; it is overwritten.
        grams: W'W of the kernel's weights, of the same shape; overwritten, too.
        channels: The channel of each feature, `[groups, features]`, or `PINNED` for features that stay.

    Returns:
        The distinct channels, ascending, and what the removal of each cost; each a little more than those before, so
        that they sort in the order of removal.
    """
    distinct = np.unique(channels[channels != PINNED])
    sets = [_by_size(row, distinct) for row in channels]
    costs, left, last = np.zeros(len(distinct)), np.ones(len(distinct), bool), 0.0
    for _ in distinct:
        found = np.where(left, 0.0, np.inf)
        for inverse, gram, sizes in zip(inverses, grams, sets, strict=True):
            for which, features in sizes:
                here = features[left[which]]
                pairs = here[:, :, None], here[:, None, :]
                found[which[left[which]]] += np.trace(np.linalg.solve(inverse[pairs], gram[pairs]), axis1=1, axis2=2)
        cheapest = int(np.argmin(found))
        last = costs[cheapest] = max(found[cheapest], last * _APART)
        left[cheapest] = False
        for inverse, gram, row in zip(inverses, grams, channels, strict=True):
            _remove(inverse, gram, np.flatnonzero(row == distinct[cheapest]))
    return distinct, costs


def _by_size(channels: np.ndarray, distinct: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns places in `distinct`, and their features `[places, size]`, for each number of features that some have."""
    places = np.searchsorted(distinct, channels[channels != PINNED])
    features = np.flatnonzero(channels != PINNED)[np.argsort(places, kind="stable")]
    counts = np.bincount(places, minlength=len(distinct))
    starts = np.cumsum(counts) - counts
    which = [(np.flatnonzero(counts == size), size) for size in np.unique(counts[counts > 0])]
    return [(each, features[starts[each][:, None] + np.arange(size)]) for each, size in which]


def _remove(inverse: np.ndarray, gram: np.ndarray, features: np.ndarray) -> None:
    """Removes features: the other weights make up for them, and the inverse becomes that of what is left."""
    if not len(features):
        return
    among = np.ix_(features, features)
    change = np.linalg.solve(inverse[among], inverse[features])
    half = (gram[:, features] - change.T @ gram[among] / 2) @ change
    gram -= half + half.T
    inverse -= inverse[:, features] @ change
