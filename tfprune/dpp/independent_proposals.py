"""k-DPPs of nearly independent items: subsets proposed as if the items were independent, and accepted or not."""

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import tensorflow as tf

from tfprune.dpp.elementary_symmetric import traced_log_elementary_symmetric
from tfprune.dpp.weighted_subsets import taking_chances, weighted_subsets

LEAST_ACCEPTANCE = 0.1
"""Kernels of which fewer proposals would be accepted are left to the draws from eigenvectors."""

_DEFINITE = 1e-3
"""Least eigenvalue of correlations, far above the rounding of float32 for some thousands of items."""

_BYTES = 64 * 2**20
_PER_DRAW = np.array([1.0, 1.02, 1.05, 1.1, 1.2, 1.4, 1.7, 2.0, 3.0, 4.0, 6.0, 10.0])
"""Proposals per draw are one of these, so that there are few shapes to trace for."""


@dataclass(frozen=True, eq=False)
class IndependentProposals:
    """Exact draws without any eigendecomposition, for kernels that are not far from diagonal.

    det(L_S) is at most the product of its diagonal (Hadamard). So a subset of k items, drawn with a probability
    proportional to that product, and accepted with det(L_S) over it, which is the determinant of the correlations of S,
    comes from the k-DPP. What is accepted is independent of how many were refused before.

    Attributes:
        size: How many items a subset has, k.
        log_weights: Logarithms of the kernels' diagonals, float64 `[kernels, items]`.
        correlations: The kernels with their diagonals scaled to 1, `[kernels, items, items]`.
        acceptance: What share of the proposals is accepted, about, `[kernels]`.

    Reference:
        Hadamard's inequality; draws by rejection as in Derezinski et al., Exact sampling of determinantal point
        processes with sublinear time preprocessing (NeurIPS 2019), with a simpler proposal.
    """

    size: int
    log_weights: np.ndarray
    correlations: np.ndarray
    acceptance: np.ndarray

    @classmethod
    def of(cls, kernels: np.ndarray, size: int) -> "IndependentProposals | None":
        """Proposals for kernels.

        Args:
            kernels: Float64, symmetric, `[kernels, items, items]`.
            size: k, at most the number of items.

        Returns:
            The proposals; None if too few would be accepted, or a kernel is not safely positive definite.
        """
        items = kernels.shape[1]
        variances = np.diagonal(kernels, axis1=1, axis2=2)
        if (variances.min(axis=1) <= items * np.finfo(float).eps * variances.max(axis=1)).any():
            return None
        logs, scales = np.log(variances), 1 / np.sqrt(variances)
        roots = np.sqrt(_inclusion(logs, size))
        correlations, acceptance = np.empty_like(kernels), np.empty(len(kernels))
        for number in range(len(kernels)):  # one by one, as one may fit into the processor's cache
            among = np.multiply(kernels[number], scales[number][:, None], out=correlations[number])
            among *= scales[number]
            share = _acceptance(among, roots[number])
            if share < LEAST_ACCEPTANCE or not _definite(among):
                return None
            acceptance[number] = share
        return cls(size, logs, correlations, acceptance)

    def draws(self, count: int, *, seed: int, compile: bool = False) -> list[np.ndarray]:
        """Draws subsets from each kernel, and gives up on those that turn out to be accepted far less than expected.

        Args:
            count: How many from each kernel.
            seed: The same seed gives the same subsets.
            compile: Let XLA compile the proposals.

        Returns:
            Int32 `[up to count, size]` for each kernel, the items ascending.
        """
        kernels, items = self.log_weights.shape
        per_draw = _PER_DRAW[np.searchsorted(_PER_DRAW[:-1], 1 / self.acceptance.min())]
        wanted = int(np.ceil(per_draw * (count + 3 * np.sqrt(count * (1 - 1 / per_draw)))))  # mostly enough at once
        proposals = min(wanted, max(1, _BYTES // (16 * kernels * self.size**2)))
        propose = _traced((kernels, items), self.size, proposals, compile)
        logs = tf.constant(self.log_weights)
        chances = taking_chances(logs, traced_log_elementary_symmetric(logs, self.size))
        correlations = tf.constant(self.correlations.reshape(kernels, -1))
        found: list[list[np.ndarray]] = [[] for _ in range(kernels)]
        most = 4 * -(-wanted // proposals) + 4
        for state in np.random.SeedSequence(seed).generate_state(2 * most).reshape(most, 2):
            pair = tf.constant((state % 2**30).astype(np.int32))
            subsets, accepted = (part.numpy() for part in propose(chances, correlations, pair))
            for mine, each, taken in zip(found, subsets, accepted, strict=True):
                mine += list(each[taken])
            if min(map(len, found)) >= count:
                break
        return [np.array(mine[:count], np.int32).reshape(-1, self.size) for mine in found]


def _inclusion(logs: np.ndarray, size: int) -> np.ndarray:
    """About the probabilities that an item is among k: those of independent items of which k are expected."""
    low, high = -logs.max(axis=1, keepdims=True) - 50, -logs.min(axis=1, keepdims=True) + 50
    for _ in range(60):
        middle = (low + high) / 2
        many = (1 / (1 + np.exp(-logs - middle))).sum(axis=1, keepdims=True) > size
        low, high = np.where(many, low, middle), np.where(many, middle, high)
    return 1 / (1 + np.exp(-logs - low))


def _acceptance(correlations: np.ndarray, roots: np.ndarray) -> float:
    """What share of the proposals would be accepted if their number of items were free, given roots of chances."""
    expected = correlations * roots[:, None]
    expected *= roots
    np.fill_diagonal(expected, 1.0)
    try:
        return float(np.exp(2 * np.log(np.diagonal(np.linalg.cholesky(expected))).sum()))
    except np.linalg.LinAlgError:
        return 0.0


def _definite(correlations: np.ndarray) -> bool:
    """Whether no eigenvalue is near 0 or below; then none of a part of the items is, either."""
    lowered = correlations.astype(np.float32)
    np.fill_diagonal(lowered, 1.0 - _DEFINITE)
    try:
        np.linalg.cholesky(lowered)
    except np.linalg.LinAlgError:
        return False
    return True


def _propose(chances: tf.Tensor, correlations: tf.Tensor, seed: tf.Tensor, proposals: int) -> tuple[tf.Tensor, ...]:
    """Int32 `[kernels, proposals, size]`, and which of them are accepted."""
    items, kernels, size = chances.shape[0], chances.shape[1], chances.shape[2] - 1
    uniforms = tf.random.stateless_uniform([items + 1, kernels, proposals], seed, dtype=tf.float64, alg="philox")
    subsets = weighted_subsets(chances, uniforms[1:])
    places = tf.reshape(items * subsets[..., None] + subsets[..., None, :], [kernels, -1])
    among = tf.reshape(tf.gather(correlations, places, axis=1, batch_dims=1), [kernels, proposals, size, size])
    pivots = tf.linalg.diag_part(tf.linalg.cholesky(among))
    return subsets, tf.math.log(uniforms[0]) < 2 * tf.reduce_sum(tf.math.log(pivots), axis=2)


@lru_cache(maxsize=64)
def _traced(
    shape: tuple[int, int], size: int, proposals: int, compile: bool
) -> tf.types.experimental.PolymorphicFunction:
    """One traced function for each shape, shared by all kernels of that shape."""
    del shape, size
    return tf.function(partial(_propose, proposals=proposals), jit_compile=compile, autograph=False)
