"""SparseGPT: weights are removed where the loss of a layer's output is smallest, and the others make up for them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tfprune.arguments import number, whole_number
from tfprune.criteria.moments import InputMoments, inverse_factor
from tfprune.criteria.weights.criterion import register_weight_criterion
from tfprune.criteria.weights.layerwise import LayerwiseCriterion, highest, in_pattern


@register_weight_criterion("sparsegpt")
@dataclass(frozen=True, kw_only=True)
class SparseGPT(LayerwiseCriterion):
    """Error of a layer's outputs after the remaining weights have made up for a removed one.

    Let H be the second moments of what a kernel reads, plus `damping` times their mean diagonal. Features are decided
    from the first to the last. Removing the weight w_j of an output channel costs w_j^2 / d_j and changes the later
    ones by -w_j / d_j times the first column of the inverse of H restricted to features from j on, of which d_j is the
    first entry: an optimal brain surgeon that leaves earlier features as they are, so that one factorization
    serves all output channels. Which weights of a block of features are removed is decided at its beginning, or with
    a pattern every m features. Every block keeps the same fraction.

    `prune` returns the model with the changed kernels; the masks alone, as of other criteria, go with them, not with
    the weights of before. Features that are always 0 in the data have the damping only: their weights cost next to
    nothing, go first, and keep their values where they stay. If a kernel reads zeros only, H is the identity.

    Attributes:
        damping: Fraction of the mean diagonal of the moments that is added to it, above 0. Larger values change the
            kept weights less; the fewer examples there are for each feature, the more is needed.
        block: Number of features of a block.
        pattern: See `LayerwiseCriterion`; blocks have multiples of its m.

    Reference:
        Frantar & Alistarh, SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot (ICML 2023),
        algorithm 1; Hassibi & Stork, Second order derivatives for network pruning: Optimal Brain Surgeon (1992).
    """

    updates: ClassVar[bool] = True
    products: ClassVar[bool] = True
    damping: float = 0.01
    block: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "damping", number("damping", self.damping, above=0))
        object.__setattr__(self, "block", whole_number("block", self.block))

    def _scored(self, weights: np.ndarray, moments: InputMoments) -> np.ndarray:
        factors = [inverse_factor(each, self.damping) for each in moments.pairs]
        return np.square(weights) / np.stack([np.square(each).sum(axis=0) for each in factors])[:, None]

    def _by_part(self, marks: np.ndarray) -> np.ndarray:
        starts = [start for start, _ in self._blocks(marks.shape[2])]
        return np.add.reduceat(marks.sum(axis=1), starts, axis=1).ravel()

    def _blocks(self, features: int) -> Iterator[tuple[int, int]]:
        """Yields the first feature of each block, and the one after its last."""
        of = 1 if self.pattern is None else self.pattern[1]
        size = max(of, self.block - self.block % of)
        for start in range(0, features, size):
            yield start, min(start + size, features)

    def _solved(
        self, weights: np.ndarray, moments: InputMoments, left: np.ndarray, shares: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        kept, weights = left.copy(), weights.copy()
        shares = shares.reshape(len(weights), -1)
        for group, products in enumerate(moments.pairs):
            factor, rows = inverse_factor(products, self.damping), weights[group]
            for count, (start, end) in zip(shares[group], self._blocks(len(products)), strict=True):
                part = slice(start, end)
                errors = self._prune_block(rows[:, part], factor[part, part], kept[group][:, part], int(count))
                rows[:, end:] -= errors @ factor[part, end:]
        return kept, weights

    def _prune_block(self, rows: np.ndarray, factor: np.ndarray, kept: np.ndarray, count: int) -> np.ndarray:
        """Prunes a block `[channels, features]` in place.

        Args:
            rows: Its weights.
            factor: The block's part of the factor of the inverse.
            kept: Bool: what may be kept; afterwards what is.
            count: How many of these.

        Returns:
            What later features make up for, in units of the factor, `[channels, features]`.
        """
        costs, errors = np.square(np.diagonal(factor)), np.zeros(rows.shape)
        if self.pattern is None:
            flat = (np.square(rows) / costs).reshape(1, -1)
            kept[:] = highest(flat, kept.reshape(1, -1), np.array([count])).reshape(rows.shape)
        for feature in range(rows.shape[1]):
            if self.pattern is not None and feature % self.pattern[1] == 0:
                window = slice(feature, feature + self.pattern[1])
                kept[:, window] = in_pattern(np.square(rows[:, window]) / costs[window], self.pattern)
            errors[:, feature] = np.where(kept[:, feature], 0, rows[:, feature]) / factor[feature, feature]
            rows[:, feature:] -= np.outer(errors[:, feature], factor[feature, feature:])
        rows[~kept] = 0
        return errors
