"""k-DPPs: random subsets of a fixed size that are likely when their items are unlike."""

from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from itertools import combinations
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.dpp.chosen_eigenvectors import chosen_eigenvectors
from tfprune.dpp.elementary_symmetric import traced_log_elementary_symmetric
from tfprune.dpp.projection_draws import projection_draws
from tfprune.dpp.spectrum import Spectrum
from tfprune.errors import ConfigError

_BYTES = 64 * 2**20


class KDPP:
    """The k-DPPs of one size over several kernels: P(S) = det(L_S) / e_k(L) for subsets S of k items.

    The kernels are decomposed once; the polynomials are computed once, as logarithms; all draws of all kernels are made
    together by one traced function that XLA can compile.

    Args:
        kernels: `[items, items]` or `[kernels, items, items]`, or their `Spectrum`.
        size: How many items a subset has, k.
        compile: Let XLA compile the draws, which takes seconds once. The same seed then gives other subsets.

    Raises:
        ConfigError: The kernels are unfit (see `Spectrum.of`), or the size is not within 1 and their rank.

    Example:
        >>> kdpp = KDPP(np.diag([1.0, 1.0, 1e-9]), 2)
        >>> sorted(kdpp.sample(1, seed=0)[0, 0].tolist())
        [0, 1]

    Reference:
        Kulesza and Taskar, k-DPPs: fixed-size determinantal point processes (ICML 2011).
    """

    def __init__(self, kernels: Any, size: int, *, compile: bool = False) -> None:
        self.spectrum = kernels if isinstance(kernels, Spectrum) else Spectrum.of(kernels)
        self.size = checked_size(size, self.spectrum)
        with np.errstate(divide="ignore"):
            self._logs = tf.constant(np.log(self.spectrum.values))
        self._compile = bool(compile)

    @cached_property
    def table(self) -> tf.Tensor:
        """The polynomials' logarithms, `[items + 1, kernels, size + 1]`."""
        return traced_log_elementary_symmetric(self._logs, self.size)

    @cached_property
    def _vectors(self) -> tf.Tensor:
        return tf.constant(self.spectrum.vectors)

    def sample(self, draws: int, *, seed: int) -> np.ndarray:
        """Draws subsets.

        Args:
            draws: How many from each kernel.
            seed: The same seed gives the same subsets.

        Returns:
            Int32 `[kernels, draws, size]`, the items in the order in which they were drawn.
        """
        if draws < 1:
            raise ConfigError(f"draws: expected at least 1, received {draws}")
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
        """log e_k, `[kernels]`."""
        return self.table[-1, :, -1].numpy()

    def probabilities(self) -> tuple[np.ndarray, np.ndarray]:
        """The whole law, by enumeration: for small ground sets.

        Returns:
            All subsets, int `[subsets, size]`, and their probabilities, `[kernels, subsets]`.
        """
        subsets = np.array(list(combinations(range(self.spectrum.items), self.size)))
        vectors, values = self.spectrum.vectors, self.spectrum.values
        kernels = np.einsum("bji,bj,bjk->bik", vectors, values, vectors)
        minors = kernels[:, subsets[:, :, None], subsets[:, None, :]]
        signs, logs = np.linalg.slogdet(minors)
        return subsets, np.where(signs > 0, np.exp(logs - self.log_normalizer()[:, None]), 0.0)

    def inclusion(self) -> np.ndarray:
        """The probability that an item is in the subset, `[kernels, items]`; sums to `size`.

        An eigenvector is chosen with probability lambda e_(k-1)(others) / e_k; the items follow from their squares.
        """
        last = self.table[-1].numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            chosen = np.stack([self._chosen(logs, row) for logs, row in zip(self._logs.numpy(), last, strict=True)])
        return np.einsum("bj,bji->bi", chosen, self.spectrum.vectors**2)

    def _chosen(self, logs: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Probability of each eigenvector: forward polynomials meet backward ones, so nothing is subtracted."""
        forward = traced_log_elementary_symmetric(tf.constant(logs[None]), self.size)[:, 0].numpy()
        backward = traced_log_elementary_symmetric(tf.constant(logs[None, ::-1]), self.size)[::-1, 0].numpy()
        terms = forward[:-1, : self.size] + backward[1:, : self.size][:, ::-1]
        return np.exp(logs + np.logaddexp.reduce(terms, axis=1) - last[-1])


def _draw(logs: tf.Tensor, table: tf.Tensor, vectors: tf.Tensor, seed: tf.Tensor, draws: int) -> tf.Tensor:
    kernels, items = vectors.shape[0], vectors.shape[2]
    uniforms = tf.random.stateless_uniform([items, kernels, draws], seed, dtype=tf.float64, alg="philox")
    chosen = chosen_eigenvectors(logs, table, uniforms)
    size = chosen.shape[2]
    bases = tf.reshape(tf.gather(vectors, chosen, axis=1, batch_dims=1), [kernels * draws, size, items])
    return tf.reshape(projection_draws(bases, seed + tf.constant([1, 0], seed.dtype)), [kernels, draws, size])


@lru_cache(maxsize=64)
def _traced_draw(shape: tuple[int, int], size: int, draws: int, compile: bool) -> Callable[..., tf.Tensor]:
    """One traced function for each shape, shared by all kernels of that shape."""
    del shape, size
    return tf.function(partial(_draw, draws=draws), jit_compile=compile, autograph=False)


def checked_size(size: int, spectrum: Spectrum) -> int:
    """The size; `ConfigError` unless there are subsets of so many items."""
    if not 1 <= size <= spectrum.items:
        raise ConfigError(
            f"k: expected a size between 1 and the {spectrum.items} items of the kernel, "
            f""
            f"received {size}; give a smaller k"
        )
    if size > spectrum.ranks.min():
        raise ConfigError(
            f"k: expected at most the kernel's rank {spectrum.ranks.min()} (kernel {spectrum.ranks.argmin()}), "
            f"received {size}: every subset of so many items has probability 0; give a smaller k, or more examples"
        )
    return int(size)
