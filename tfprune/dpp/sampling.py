"""Samplers of subsets, many at a time: from projection DPPs, and by rejection for nearly independent items.

A k-DPP is sampled in two steps: `weighted_subsets` chooses k eigenvectors, `projection_draws` draws items from their
span. `IndependentProposals` needs no eigenvectors, and is much faster where it accepts enough of its proposals.
"""

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import tensorflow as tf
from scipy.special import expit

from tfprune.dpp.spectrum import shift_to_size, traced_log_elementary_symmetric
from tfprune.reprs import short_repr

PROPOSALS = 12
"""Items proposed to every draw before the probabilities are updated."""

LEAST_ACCEPTANCE = 0.1
"""Kernels for which a smaller fraction of the proposals would be accepted are sampled from eigenvectors."""

_ROUNDING = 4 * float(np.finfo(np.float32).eps)
_DEFINITE = 1e-3  # least eigenvalue of correlations, far above float32 rounding for some thousands of items
_BYTES = 64 * 2**20  # for the correlations of the proposals that are made together
_PER_DRAW = np.array([1.0, 1.02, 1.05, 1.1, 1.2, 1.4, 1.7, 2.0, 3.0, 4.0, 6.0, 10.0])
"""Numbers of proposals per draw: one of a few, so that there are few shapes to trace."""


def projection_draws(vectors: tf.Tensor, chosen: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws one subset from each of many projection DPPs.

    The probability of the next item is proportional to the squared distance of its vector to the span of the vectors of
    the items drawn before. Instead of all distances after every item, upper bounds are computed after every few items,
    in float32 and rounded up: items are proposed by the bounds and accepted by the ratio of distance to bound, in
    float64. This is exact, as distances only decrease. All work on complete bases is matrix products.

    Args:
        vectors: Orthonormal rows, float64 `[kernels, items, items]`.
        chosen: Which of them span the projections, int32 `[kernels, draws, k]`.
        seed: Two integers.

    Returns:
        Int32 `[kernels, draws, k]`, the items in the order in which they were drawn.

    Reference:
        Hough et al., Determinantal processes and independence (2006), algorithm 18; rejection as in Barthelmé et al.,
        A faster sampler for discrete determinantal point processes (AISTATS 2023).
    """
    (kernels, draws, size), items = chosen.shape, vectors.shape[2]
    count = kernels * draws
    slack = tf.constant(_ROUNDING * size, tf.float32)
    bases = tf.gather(tf.cast(vectors, tf.float32), chosen, axis=1, batch_dims=1)
    bases = tf.reshape(bases, [count, size, items])
    by_item = tf.reshape(tf.transpose(vectors, [0, 2, 1]), [kernels, -1])
    numbers = tf.repeat(tf.range(count)[:, None], PROPOSALS, axis=1)

    def step(
        turn: tf.Tensor, counts: tf.Tensor, found: tf.Tensor, span: tf.Tensor, bounds: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        uniforms = tf.random.stateless_uniform(
            [2, count, PROPOSALS], seed + tf.stack([0, turn]), dtype=tf.float64, alg="philox"
        )
        proposed = _proposed(bounds, uniforms[0])
        thresholds = uniforms[1] * tf.cast(tf.gather(bounds, proposed, axis=1, batch_dims=1), tf.float64)
        places = tf.reshape(proposed, [kernels, draws, PROPOSALS, 1]) * items + chosen[:, :, None, :]
        rows = tf.gather(by_item, tf.reshape(places, [kernels, -1]), axis=1, batch_dims=1)
        rows = tf.reshape(rows, [count, PROPOSALS, size])
        rows -= tf.matmul(tf.matmul(rows, span, transpose_b=True), span)
        accepted, factor = _accepted(tf.matmul(rows, rows, transpose_b=True), thresholds, size - counts)
        added = _orthonormal(rows, factor, accepted)
        place = counts[:, None] + tf.cumsum(tf.cast(accepted, tf.int32), axis=1) - 1
        where = tf.stack([numbers, tf.where(accepted, place, size)], 2)  # one more place, for rejected items
        lower = bounds - tf.reduce_sum(tf.square(tf.matmul(tf.cast(added, tf.float32), bases)), 1)
        bounds = tf.where(bounds > 0, tf.maximum(lower, slack), 0.0)  # 0: items already drawn
        bounds = _without(bounds, proposed, accepted)
        counts += tf.reduce_sum(tf.cast(accepted, tf.int32), 1)
        found = tf.tensor_scatter_nd_update(found, where, proposed)
        return turn + 1, counts, found, tf.tensor_scatter_nd_update(span, where, added), bounds

    start = (
        tf.zeros([count], tf.int32),
        tf.zeros([count, size + 1], tf.int32),
        tf.zeros([count, size + 1, size], tf.float64),
        tf.reduce_sum(tf.square(bases), 1) + slack,
    )
    found = tf.while_loop(lambda turn, counts, *_: tf.reduce_any(counts < size), step, [0, *start])[2]
    return tf.reshape(found[:, :size], chosen.shape)


def _proposed(bounds: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
    """Draws items with probability proportional to their bound, `[draws, PROPOSALS]`."""
    sums = tf.cumsum(tf.cast(bounds, tf.float64), axis=1)
    found = tf.searchsorted(sums, uniforms * sums[:, -1:], side="right")
    return tf.minimum(found, bounds.shape[1] - 1)


def _accepted(products: tf.Tensor, thresholds: tf.Tensor, room: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Accepts or rejects proposals one after the other, and computes the Cholesky factor of the accepted ones.

    Args:
        products: Inner products of the proposals' vectors, `[draws, PROPOSALS, PROPOSALS]`.
        thresholds: Value that a squared distance must exceed, `[draws, PROPOSALS]`.
        room: Number of items that each draw still needs, `[draws]`.

    Returns:
        Bool `[draws, PROPOSALS]`, and `[draws, PROPOSALS, PROPOSALS]` whose columns of rejected proposals are zero.
    """

    def step(turn: tf.Tensor, products: tf.Tensor, room: tf.Tensor, *found: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        column = products[:, :, turn]
        distance = column[:, turn]
        take = (thresholds[:, turn] < distance) & (room > 0)
        scale = tf.where(take, tf.math.rsqrt(tf.where(take, distance, tf.ones_like(distance))), 0.0)
        column *= scale[:, None]
        products -= column[:, :, None] * column[:, None, :]
        room -= tf.cast(take, tf.int32)
        return turn + 1, products, room, found[0].write(turn, take), found[1].write(turn, column)

    taken = tf.TensorArray(tf.bool, PROPOSALS, element_shape=room.shape)
    columns = tf.TensorArray(tf.float64, PROPOSALS, element_shape=thresholds.shape)
    state = tf.while_loop(lambda turn, *_: turn < PROPOSALS, step, [0, products, room, taken, columns])
    return tf.transpose(state[3].stack()), tf.transpose(state[4].stack(), [1, 2, 0])


def _orthonormal(rows: tf.Tensor, factor: tf.Tensor, accepted: tf.Tensor) -> tf.Tensor:
    """Returns orthonormal rows with the span of the accepted rows, zero for the others, `[draws, PROPOSALS, k]`."""
    kept = tf.cast(accepted, tf.float64)
    system = tf.linalg.band_part(factor, -1, 0) * kept[:, :, None] + tf.linalg.diag(1.0 - kept)
    return tf.linalg.triangular_solve(system, rows * kept[:, :, None])


def _without(bounds: tf.Tensor, proposed: tf.Tensor, accepted: tf.Tensor) -> tf.Tensor:
    """Sets the bounds of the items just drawn to exactly 0, so that rounding cannot bring them back."""
    draws = tf.broadcast_to(tf.range(proposed.shape[0])[:, None], proposed.shape)
    limit = tf.where(accepted, tf.zeros_like(bounds[:, :1]), tf.fill([1, 1], tf.constant(float("inf"))))
    return tf.tensor_scatter_nd_min(bounds, tf.stack([draws, proposed], 2), limit)


@dataclass(frozen=True, eq=False)
class IndependentProposals:
    """Exact draws without eigendecomposition, for kernels that are nearly diagonal.

    det(L_S) is at most the product of its diagonal (Hadamard). So a subset of k items is proposed with a probability
    proportional to that product, and accepted with det(L_S) divided by it, which is the determinant of the correlations
    of S. Accepted subsets follow the k-DPP, however many were rejected before.

    Attributes:
        size: Number of items of a subset, k.
        log_weights: Logarithms of the kernels' diagonals, float64 `[kernels, items]`.
        correlations: The kernels with their diagonals scaled to 1, `[kernels, items, items]`.
        acceptance: Approximate fraction of the proposals that is accepted, `[kernels]`.

    Reference:
        Hadamard's inequality; draws by rejection as in Derezinski et al., Exact sampling of determinantal point
        processes with sublinear time preprocessing (NeurIPS 2019), with a simpler proposal.
    """

    size: int
    log_weights: np.ndarray
    correlations: np.ndarray
    acceptance: np.ndarray

    __repr__ = short_repr

    @classmethod
    def from_kernels(cls, kernels: np.ndarray, size: int) -> "IndependentProposals | None":
        """Returns proposals for kernels.

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
        roots = np.sqrt(expit(logs + shift_to_size(logs, size)))
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
        """Draws subsets from each kernel; there are fewer if far fewer proposals are accepted than expected.

        Args:
            count: Number of draws from each kernel.
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


def _acceptance(correlations: np.ndarray, roots: np.ndarray) -> float:
    """Returns the fraction of accepted proposals if their number of items were free, from roots of probabilities."""
    expected = correlations * roots[:, None]
    expected *= roots
    np.fill_diagonal(expected, 1.0)
    try:
        return float(np.exp(2 * np.log(np.diagonal(np.linalg.cholesky(expected))).sum()))
    except np.linalg.LinAlgError:
        return 0.0


def _definite(correlations: np.ndarray) -> bool:
    """Returns whether all eigenvalues are well above 0; then so are those of every subset of the items."""
    lowered = correlations.astype(np.float32)
    np.fill_diagonal(lowered, 1.0 - _DEFINITE)
    try:
        np.linalg.cholesky(lowered)
    except np.linalg.LinAlgError:
        return False
    return True


def _propose(chances: tf.Tensor, correlations: tf.Tensor, seed: tf.Tensor, proposals: int) -> tuple[tf.Tensor, ...]:
    """Proposes subsets, int32 `[kernels, proposals, size]`, and decides which are accepted."""
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
    """Returns one traced function for each shape, shared by all kernels of that shape."""
    del shape, size
    return tf.function(partial(_propose, proposals=proposals), jit_compile=compile, autograph=False)


def taking_chances(log_weights: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """Computes the probability to take an item, if a number of items is still to be taken from it and those before it.

    Args:
        log_weights: Logarithms of the weights, float64 `[sets, items]`.
        table: Their elementary symmetric polynomials, `[items + 1, sets, k + 1]`, see `log_elementary_symmetric`.

    Returns:
        Float64 `[items, sets, k + 1]`; NaN for numbers that are impossible.
    """
    chances = tf.exp(tf.transpose(log_weights)[:, :, None] + table[:-1, :, :-1] - table[1:, :, 1:])
    return tf.concat([tf.zeros_like(chances[:, :, :1]), chances], 2)


def weighted_subsets(chances: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
    """Draws subsets of k items, each with a probability proportional to the product of its items' weights.

    Args:
        chances: See `taking_chances`, `[items, sets, k + 1]`.
        uniforms: Float64 `[items, sets, draws]` between 0 and 1, each of which decides about one item.

    Returns:
        Int32 `[sets, draws, k]`, the items of each subset, ascending.

    Reference:
        Kulesza and Taskar, Determinantal point processes for machine learning (2012), algorithm 8.
    """
    count, sets, columns = chances.shape
    rows = tf.reshape(chances, [count, sets * columns])
    start = tf.fill([sets, uniforms.shape[2]], columns - 1) + columns * tf.range(sets)[:, None]
    taken = tf.TensorArray(tf.bool, count, element_shape=start.shape)

    def step(n: tf.Tensor, place: tf.Tensor, taken: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        take = uniforms[n] < tf.gather(rows[n], place)  # place: how many are left, along with the set
        return n - 1, place - tf.cast(take, tf.int32), taken.write(n, take)

    taken = tf.while_loop(lambda n, *_: n >= 0, step, [count - 1, start, taken])[2]
    mask = tf.transpose(taken.stack(), [1, 2, 0])
    return tf.math.top_k(tf.cast(mask, tf.int32), columns - 1).indices  # equal values come in the order of their places
