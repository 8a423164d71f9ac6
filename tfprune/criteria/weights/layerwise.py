"""What criteria share that prune kernel after kernel, each on what it reads from the kernels pruned before."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from tfprune.arguments import whole_number
from tfprune.criteria.data import CriterionData
from tfprune.criteria.moments import InputMoments, KernelInputs
from tfprune.criteria.registry import DataUse
from tfprune.criteria.weights.criterion import Tensors, WeightCriterion
from tfprune.criteria.weights.dpp import equal_shares
from tfprune.errors import ConfigError
from tfprune.graph import kernels_of_copy, prunable_weights
from tfprune.masks import Masks
from tfprune.reprs import described
from tfprune.tables import listed


@dataclass(frozen=True, kw_only=True)
class LayerwiseCriterion(WeightCriterion):
    """Base class of criteria that prune the kernels of a model one after the other, on data.

    The data go through a copy of the model call by call. Each kernel is pruned, and perhaps changed, before its call
    runs, so that the next kernels read what the pruned model gives them. Every kernel keeps the same fraction, and so
    does each part of it, such as an output channel; some keep one weight more where that is no whole number. `scope`
    decides whether the count is exact over the model or in every kernel. Memory: `tfprune.criteria.moments`, and the
    copy.

    Attributes:
        pattern: Keep `n` of each `m` consecutive weights that an output channel reads, as `(n, m)`; the density is then
            `n / m`. Consecutive are inputs of a dense layer, and channels at a window's position.
    """

    uses_data: ClassVar[DataUse] = "always"
    products: ClassVar[bool] = False
    pattern: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(iterations=1, original_ties=False, revive=False)
        object.__setattr__(self, "pattern", _pattern(self.pattern))

    @abstractmethod
    def _scored(self, weights: np.ndarray, moments: InputMoments) -> np.ndarray:
        """Scores weights `[groups, channels, features]`, float64, as if none was removed yet."""

    @abstractmethod
    def _by_part(self, marks: np.ndarray) -> np.ndarray:
        """Counts marks `[groups, channels, features]` in each part of a kernel whose share is decided beforehand."""

    @abstractmethod
    def _solved(
        self, weights: np.ndarray, moments: InputMoments, left: np.ndarray, shares: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Prunes a kernel.

        Args:
            weights: Float64 `[groups, channels, features]`; 0 where they are not left.
            moments: Those of what the kernel reads.
            left: Bool, of the same shape: what may be kept.
            shares: How many weights of each part are kept.

        Returns:
            What is kept, bool, and the new weights, both of the same shape.
        """

    def scores(self, model: keras.Model, masks: Tensors, data: CriterionData | None = None) -> dict[str, np.ndarray]:
        """Scores the weights, see `WeightCriterion.scores`: of every kernel on what it reads in the whole model."""
        every = prunable_weights(model)
        weights = {name: every[name] for name in masks}
        inputs, found = self._inputs(model, weights), {}
        for name, moments in inputs.moments(CriterionData.required(data, self.name, model), products=self.products):
            reads = inputs.reads[name]
            rows = reads.by_channel(weights[name]).astype(np.float64) * reads.by_channel(masks[name])
            found[name] = reads.as_kernel(self._scored(rows, moments))
        return {name: found[name] for name in masks}

    def _choose(
        self, model: keras.Model, start: Masks, counts: np.ndarray, data: CriterionData | None
    ) -> Mapping[str, np.ndarray]:
        copy = self._copy(model)
        every = kernels_of_copy(model, copy)
        weights = {name: every[name] for name in start}
        for name, variables in weights.items():
            for variable in variables if not start[name].all() else ():
                variable.assign(np.where(start[name], np.asarray(variable), 0))
        inputs, kept = self._inputs(copy, weights), {}
        shares = self._shares(inputs, start, counts[-1])
        for name, moments in inputs.moments(CriterionData.required(data, self.name, model), products=self.products):
            reads = inputs.reads[name]
            rows, left = reads.by_channel(weights[name][0]).astype(np.float64), reads.by_channel(start[name])
            chosen, rows = self._solved(rows, moments, left, shares[name])
            kept[name] = reads.as_kernel(chosen)
            for variable in weights[name]:
                variable.assign(reads.as_kernel(np.where(chosen, rows, 0)))
        return {name: kept[name] for name in start}

    def _inputs(self, model: keras.Model, weights: Mapping[str, Any]) -> KernelInputs:
        """Returns what kernels read; raises `ConfigError` if that is not known of all."""
        inputs = KernelInputs(model, weights)
        if missing := [name for name in weights if name not in inputs.reads]:
            raise ConfigError(
                f"criterion {self.name}: expected kernels of dense layers, einsums and convolutions, received "
                f"{listed(missing)}, of other kinds; ignore them"
            )
        return inputs

    def _shares(self, inputs: KernelInputs, start: Masks, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Returns how many weights of each part of each kernel are kept."""
        if self.pattern is not None:
            self._check_pattern(inputs, start, counts)
        if self.scope == "global":
            sizes, room = (np.array([counts[place] for counts in start.counts.values()]) for place in (1, 0))
            counts = equal_shares(sizes, room, counts[0])
        shares = {}
        for name, count in zip(start, counts, strict=True):
            left = inputs.reads[name].by_channel(start[name])
            shares[name] = equal_shares(self._by_part(np.ones(left.shape, bool)), self._by_part(left), count)
        return shares

    def _check_pattern(self, inputs: KernelInputs, start: Masks, counts: np.ndarray) -> None:
        """Raises `ConfigError` unless the pattern fits every kernel, and keeps as many weights as the density."""
        assert self.pattern is not None, "asked for"
        kept, of = self.pattern
        for name, each in start.items():
            features = inputs.reads[name].features
            if features % of:
                raise ConfigError(
                    f"pattern: expected kernels whose output channels read multiples of {of} weights, received "
                    f"{features} in {name}; ignore it"
                )
            if not each.all():
                raise ConfigError(f"pattern: expected no earlier masks, received some of {name}; leave masks= out")
        if start.total // of * kept != counts.sum():
            raise ConfigError(
                f"density: expected {kept / of:g}, that of the pattern {self.pattern}, received "
                f"{counts.sum() / start.total:g}; change one of them"
            )


def highest(scores: np.ndarray, left: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Marks the highest scores of each row.

    Args:
        scores: `[rows, items]`.
        left: Bool, of the same shape: what can be marked.
        counts: How many are marked in each row, `[rows]`, at most those that can.

    Returns:
        Bool, of the same shape; of equal scores the first ones are marked.

    Example:
        >>> highest(np.array([[3.0, 9.0, 3.0]]), np.array([[True, False, True]]), np.array([1])).tolist()
        [[True, False, False]]
    """
    order = np.argsort(np.where(left, -scores, np.inf), axis=1, kind="stable")
    marked = np.zeros(scores.shape, bool)
    np.put_along_axis(marked, order, np.arange(scores.shape[1]) < counts[:, None], axis=1)
    return marked


def in_pattern(scores: np.ndarray, pattern: tuple[int, int]) -> np.ndarray:
    """Marks the n highest of each m consecutive scores `[..., items]`; bool, of the same shape."""
    kept, of = pattern
    parts = scores.reshape(-1, of)
    return highest(parts, np.ones(parts.shape, bool), np.full(len(parts), kept)).reshape(scores.shape)


def _pattern(given: Any) -> tuple[int, int] | None:
    """Returns a pattern that a user gives as whole numbers, or None."""
    if given is None:
        return None
    if not (isinstance(given, tuple | list) and len(given) == 2):
        raise ConfigError(
            f"pattern: expected how many weights are kept of how many, as (2, 4), received {described(given)}"
        )
    of = whole_number("pattern[1]", given[1], at_least=2)
    return whole_number("pattern[0]", given[0], at_most=of - 1), of
