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
_PENDING = 64  # features whose removal is applied at once


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
    groups = [_Removal(*each, distinct) for each in zip(inverses, grams, channels, strict=True)]
    costs, left, last = np.zeros(len(distinct)), np.ones(len(distinct), bool), 0.0
    for _ in distinct:
        found = np.where(left, 0.0, np.inf)
        for group in groups:
            group.add_costs(found, left)
        cheapest = int(np.argmin(found))
        last = costs[cheapest] = max(found[cheapest], last * _APART)
        left[cheapest] = False
        for group in groups:
            group.remove(distinct[cheapest])
    return distinct, costs


class _Removal:
    """Removes channels from what one group of a kernel reads.

    After each removal the other weights make up for it, and the inverse becomes that of what is left. Both are low-rank
    changes; they are applied to the whole matrices some at a time, and at once to the parts that costs need.

    Args:
        inverse: The inverse of H, `[features, features]`; overwritten.
        gram: W'W, of the same shape; overwritten.
        channels: The channel of each feature.
        distinct: All channels.
    """

    def __init__(self, inverse: np.ndarray, gram: np.ndarray, channels: np.ndarray, distinct: np.ndarray) -> None:
        self._inverse, self._gram, self._channels = inverse, gram, channels
        self._changes: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._parts = []
        for which, features in _by_size(channels, distinct):
            pairs = features[:, :, None], features[:, None, :]
            self._parts.append((which, features, inverse[pairs], gram[pairs]))

    def add_costs(self, costs: np.ndarray, left: np.ndarray) -> None:
        """Adds to the cost of each channel what its removal costs, if it is left."""
        for which, _, inverses, grams in self._parts:
            here = left[which]
            costs[which[here]] += np.trace(np.linalg.solve(inverses[here], grams[here]), axis1=1, axis2=2)

    def remove(self, channel: int) -> None:
        """Removes a channel."""
        features = np.flatnonzero(self._channels == channel)
        if not len(features):
            return
        columns, products = self._inverse[features].T, self._gram[features].T  # both are symmetric
        for left, middle, right in self._changes:
            columns -= left @ right[:, features]
            products -= middle @ right[:, features] + right.T @ middle[features].T
        change = np.linalg.solve(columns[features], columns.T)
        half = products - change.T @ products[features] / 2
        for _, places, inverses, grams in self._parts:
            after = change.T[places].transpose(0, 2, 1)
            inverses -= columns[places] @ after
            both = half[places] @ after
            grams -= both + both.transpose(0, 2, 1)
        self._changes.append((columns, half, change))
        if sum(each[2].shape[0] for each in self._changes) >= _PENDING:
            self._apply()

    def _apply(self) -> None:
        left, middle = (np.concatenate([each[part] for each in self._changes], axis=1) for part in (0, 1))
        right = np.concatenate([each[2] for each in self._changes])
        self._inverse -= left @ right
        both = middle @ right
        self._gram -= both
        self._gram -= both.T
        self._changes.clear()


def _by_size(channels: np.ndarray, distinct: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns places in `distinct`, and their features `[places, size]`, for each number of features that some have."""
    places = np.searchsorted(distinct, channels[channels != PINNED])
    features = np.flatnonzero(channels != PINNED)[np.argsort(places, kind="stable")]
    counts = np.bincount(places, minlength=len(distinct))
    starts = np.cumsum(counts) - counts
    which = [(np.flatnonzero(counts == size), size) for size in np.unique(counts[counts > 0])]
    return [(each, features[starts[each][:, None] + np.arange(size)]) for each, size in which]
