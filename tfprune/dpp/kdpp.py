"""k-DPPs: random subsets of a fixed size, of which those with dissimilar items are likely.

`KDPP` samples from many kernels at once, by rejection where the items are nearly independent and from eigenvectors
elsewhere (both exact), and enumerates small distributions. `dppy_draws` does the same with the library DPPy.
"""

from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from itertools import combinations
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.arguments import seed_number, truth, whole_number
from tfprune.dpp.sampling import IndependentProposals, projection_draws, taking_chances, weighted_subsets
from tfprune.dpp.spectrum import Spectrum, checked_kernels, log_minors, traced_log_elementary_symmetric
from tfprune.errors import ConfigError

_BYTES = 64 * 2**20  # for the vectors of the draws that are made together


class KDPP:
    """The k-DPPs of one size over several kernels: P(S) = det(L_S) / e_k(L) for subsets S of k items.

    All draws of all kernels are made together by traced functions that XLA can compile. If the items are nearly
    independent, they are drawn by `IndependentProposals`, otherwise from the eigenvectors, for which each kernel is
    decomposed once. Both ways are exact. Polynomials are computed once, as logarithms.

    Args:
        kernels: `[items, items]` or `[kernels, items, items]`, or their `Spectrum`, which is then used.
        size: Number of items of a subset, k.
        compile: Let XLA compile the draws, which takes seconds once. The same seed then gives different subsets.

    Raises:
        ConfigError: A kernel is invalid (see `Spectrum.from_kernels`), or the size is not between 1 and the rank.

    Example:
        >>> kdpp = KDPP(np.diag([1.0, 1.0, 1e-9]), 2)
        >>> kdpp.sample(1, seed=0).tolist()
        [[[0, 1]]]

    Reference:
        Kulesza and Taskar, k-DPPs: fixed-size determinantal point processes (ICML 2011).
    """

    def __init__(self, kernels: Any, size: int, *, compile: bool = False) -> None:
        self._compile = truth("compile", compile)
        self._proposals = None
        if isinstance(kernels, Spectrum):
            self.size = checked_size(size, kernels.items)
            self.spectrum = kernels
        else:
            self._kernels = kernels
            checked = checked_kernels(kernels)
            self.size = checked_size(size, checked.shape[1])
            self._proposals = IndependentProposals.from_kernels(checked, self.size)
        if self._proposals is None:
            checked_rank(self.size, self.spectrum)

    @cached_property
    def spectrum(self) -> Spectrum:
        """The kernels' eigenvalues and eigenvectors."""
        return Spectrum.from_kernels(self._kernels)

    @cached_property
    def table(self) -> tf.Tensor:
        """The polynomials' logarithms, `[items + 1, kernels, size + 1]`."""
        return traced_log_elementary_symmetric(self._logs, self.size)

    @cached_property
    def _logs(self) -> tf.Tensor:
        with np.errstate(divide="ignore"):
            return tf.constant(np.log(self.spectrum.values))

    @cached_property
    def _vectors(self) -> tf.Tensor:
        return tf.constant(self.spectrum.vectors)

    def sample(self, draws: int, *, seed: int) -> np.ndarray:
        """Draws subsets.

        Args:
            draws: Number of draws from each kernel.
            seed: The same seed gives the same subsets.

        Returns:
            Int32 `[kernels, draws, size]`, the items ascending.

        Raises:
            ConfigError: The number of draws is below 1.
        """
        draws, seed = whole_number("draws", draws), seed_number(seed)
        if self._proposals is None:
            return self._from_eigenvectors(draws, seed)
        found = self._proposals.draws(draws, seed=seed, compile=self._compile)
        lacking = draws - min(map(len, found))
        if not lacking:
            return np.stack(found)
        more = self._from_eigenvectors(lacking, seed)
        return np.stack([np.concatenate([few, rest])[:draws] for few, rest in zip(found, more, strict=True)])

    def _from_eigenvectors(self, draws: int, seed: int) -> np.ndarray:
        """Draws in chunks that fit into memory."""
        chunk = max(1, _BYTES // (8 * self.spectrum.kernels * self.size * self.spectrum.items))
        chunk = min(draws, chunk)
        draw = _traced_draw(self.spectrum.vectors.shape[:2], self.size, chunk, self._compile)
        states = np.random.SeedSequence(seed).generate_state(2 * -(-draws // chunk)).reshape(-1, 2)
        parts = [
            draw(self._logs, self.table, self._vectors, tf.constant((state % 2**30).astype(np.int32))).numpy()
            for state in states
        ]
        return np.concatenate(parts, axis=1)[:, :draws]

    def log_normalizer(self) -> np.ndarray:
        """Returns log e_k of each kernel, `[kernels]`."""
        return self.table[-1, :, -1].numpy()

    def probabilities(self) -> tuple[np.ndarray, np.ndarray]:
        """Enumerates all subsets, for small ground sets.

        Returns:
            All subsets, int `[subsets, size]`, and their probabilities, `[kernels, subsets]`.
        """
        subsets = np.array(list(combinations(range(self.spectrum.items), self.size)))
        return subsets, np.exp(self.log_probability(np.broadcast_to(subsets, (self.spectrum.kernels, *subsets.shape))))

    def log_probability(self, subsets: np.ndarray) -> np.ndarray:
        """Returns the logarithm of the probability of subsets.

        Args:
            subsets: Items, int `[kernels, subsets, size]`, such as `sample` draws, or bool masks of `size` of the
                items, `[kernels, subsets, items]`.

        Returns:
            Float64 `[kernels, subsets]`; minus infinity for subsets that are never drawn.
        """
        return log_minors(self.spectrum.matrices(), subsets) - self.log_normalizer()[:, None]

    def inclusion(self) -> np.ndarray:
        """Returns the probability that an item is in the subset, `[kernels, items]`; it sums to `size`.

        An eigenvector is chosen with probability lambda e_(k-1)(others) / e_k; the items follow from their squares.
        """
        last = self.table[-1].numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            chosen = np.stack([self._chosen(logs, row) for logs, row in zip(self._logs.numpy(), last, strict=True)])
        return np.einsum("bj,bji->bi", chosen, self.spectrum.vectors**2)

    def _chosen(self, logs: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Returns the probability of each eigenvector, from forward and backward polynomials, without subtractions."""
        forward = traced_log_elementary_symmetric(tf.constant(logs[None]), self.size)[:, 0].numpy()
        backward = traced_log_elementary_symmetric(tf.constant(logs[None, ::-1]), self.size)[::-1, 0].numpy()
        terms = forward[:-1, : self.size] + backward[1:, : self.size][:, ::-1]
        return np.exp(logs + np.logaddexp.reduce(terms, axis=1) - last[-1])


def _draw(logs: tf.Tensor, table: tf.Tensor, vectors: tf.Tensor, seed: tf.Tensor, draws: int) -> tf.Tensor:
    """Chooses eigenvectors, then draws from their projection DPPs: int32 `[kernels, draws, size]`."""
    kernels, items = vectors.shape[0], vectors.shape[2]
    uniforms = tf.random.stateless_uniform([items, kernels, draws], seed, dtype=tf.float64, alg="philox")
    chosen = weighted_subsets(taking_chances(logs, table), uniforms)
    return tf.sort(projection_draws(vectors, chosen, seed + tf.constant([1, 0], seed.dtype)), axis=2)


@lru_cache(maxsize=64)
def _traced_draw(shape: tuple[int, int], size: int, draws: int, compile: bool) -> Callable[..., tf.Tensor]:
    """Returns one traced function for each shape, shared by all kernels of that shape."""
    del shape, size
    return tf.function(partial(_draw, draws=draws), jit_compile=compile, autograph=False)


def checked_size(size: int, items: int) -> int:
    """Returns the size; raises `ConfigError` unless there are so many items."""
    return whole_number("k", size, at_most=items)


def checked_rank(size: int, spectrum: Spectrum) -> None:
    """Raises `ConfigError` if no subset of so many items has a probability above 0."""
    if size > spectrum.ranks.min():
        raise ConfigError(
            f"k: expected at most the kernel's rank {spectrum.ranks.min()} (kernel {spectrum.ranks.argmin()}), "
            f"received {size}: every subset of so many items has probability 0; give a smaller k, or more examples"
        )


def dppy_draws(kernels: Any, size: int, draws: int, *, seed: int) -> np.ndarray:
    """Draws subsets from k-DPPs with DPPy, one eigendecomposition for each kernel.

    DPPy fails ("probabilities do not sum to 1") for float32 kernels, and where elementary symmetric polynomials leave
    the range of float64. So it is given a float64 spectrum, scaled so that the polynomial it divides by is about 1,
    which does not change the k-DPP, and the polynomials, computed from their logarithms.

    Args:
        kernels: `[items, items]`, `[kernels, items, items]`, or their `Spectrum`.
        size: Number of items of a subset, k.
        draws: Number of draws from each kernel.
        seed: The same seed gives the same subsets.

    Returns:
        Int `[kernels, draws, size]`, in the order in which they were drawn.

    Raises:
        ConfigError: A kernel or the size is invalid.

    Reference:
        Gautier et al., DPPy: DPP sampling with Python (JMLR 2019); its issues 61, 70, 80.
    """
    from dppy.finite_dpps import FiniteDPP  # slow to import

    spectrum = kernels if isinstance(kernels, Spectrum) else Spectrum.from_kernels(kernels)
    size, draws, seed = checked_size(size, spectrum.items), whole_number("draws", draws), seed_number(seed)
    checked_rank(size, spectrum)
    rng = np.random.RandomState(seed)
    found = []
    for values, vectors in zip(spectrum.values, spectrum.vectors, strict=True):
        with np.errstate(divide="ignore"):
            logs = np.log(values)
        last = traced_log_elementary_symmetric(tf.constant(logs[None]), size)[-1, 0, -1].numpy()
        logs = logs - last / size
        dpp = FiniteDPP("likelihood", L_eig_dec=(np.exp(logs), vectors.T))
        table = traced_log_elementary_symmetric(tf.constant(logs[None]), size)[:, 0].numpy().T
        dpp.E_poly, dpp.size_k_dpp = np.exp(table), size
        for _ in range(draws):
            dpp.sample_exact_k_dpp(size=size, random_state=rng)
        found.append(np.array(dpp.list_of_samples))
    return np.stack(found)
