"""L-ensembles: random subsets whose size is random, too, of which those with dissimilar items are likely.

`LEnsemble` draws them by `DeterminantalPointProcess` of tensorflow-probability, which is imported on first use. Its
probabilities, sizes and inclusion probabilities are exact, and need only NumPy.
"""

import contextlib
import io
import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.arguments import number, seed_number, truth, whole_number
from tfprune.dpp.spectrum import Spectrum, log_minors, shift_to_size
from tfprune.errors import ConfigError, first_line

_BYTES = 64 * 2**20  # for the vectors of the draws that are made together
_LEAST_CHANCE = 1e-3  # of a draw that is not empty


class LEnsemble:
    """The L-ensembles of several kernels: P(S) = det(L_S) / det(L + I) for subsets S of any size.

    The expected size is the sum of lambda / (1 + lambda) over the eigenvalues of L. To give it a certain value, each
    kernel is multiplied by the one positive number for which it has it. This keeps the ratio of the probabilities of
    two subsets of the same size, so that given their size they are those of a k-DPP.

    An L-ensemble may draw the empty set. With `nonempty`, empty draws are rejected, and others have the conditional
    distribution P(S) = det(L_S) / (det(L + I) - 1). Sizes are then larger on average, see `expected_sizes`.

    Args:
        kernels: `[items, items]` or `[kernels, items, items]`, or their `Spectrum`.
        expected_size: The expected size, empty sets included, to which each kernel is scaled. Default: kernels stay as
            they are.
        nonempty: Whether empty draws are rejected.

    Attributes:
        spectrum: The spectrum of the scaled kernels.
        nonempty: As above.

    Raises:
        ConfigError: A kernel is invalid (see `Spectrum.from_kernels`), or the expected size is not between 0 and its
            rank.

    Example:
        >>> ensemble = LEnsemble(np.eye(4), expected_size=1)
        >>> [round(float(p), 3) for p in ensemble.inclusion()[0]]
        [0.25, 0.25, 0.25, 0.25]

    Reference:
        Kulesza and Taskar, Determinantal point processes for machine learning (2012), sections 2.2 and 2.4.
    """

    def __init__(self, kernels: Any, expected_size: float | None = None, *, nonempty: bool = False) -> None:
        spectrum = kernels if isinstance(kernels, Spectrum) else Spectrum.from_kernels(kernels)
        self.nonempty = truth("nonempty", nonempty)
        if expected_size is not None:
            rank = int(spectrum.ranks.min())
            expected_size = number("expected_size", expected_size)
            if not 0 < expected_size < rank:
                raise ConfigError(
                    f"expected_size: expected a size between 0 and the kernel's rank {rank}, received {expected_size}"
                )
            with np.errstate(divide="ignore"):
                logs = np.log(spectrum.values)
            spectrum = Spectrum(np.exp(logs + shift_to_size(logs, expected_size)), spectrum.vectors)
        self.spectrum = spectrum

    @property
    def log_normalizers(self) -> np.ndarray:
        """log det(L + I) of each kernel, `[kernels]`; with `nonempty`, log(det(L + I) - 1)."""
        logs = np.log1p(self.spectrum.values).sum(axis=1)
        return logs + np.log(-np.expm1(-logs)) if self.nonempty else logs

    @property
    def empty_chances(self) -> np.ndarray:
        """The probability of an empty draw, before any is rejected: 1 / det(L + I), `[kernels]`."""
        return np.exp(-np.log1p(self.spectrum.values).sum(axis=1))  # 0 where that is below the range of float64

    @property
    def expected_sizes(self) -> np.ndarray:
        """The expected size of a subset, `[kernels]`; with `nonempty`, of one that is not empty."""
        return self.inclusion().sum(axis=1)

    def inclusion(self) -> np.ndarray:
        """Returns the probability that an item is in the subset, `[kernels, items]`: the diagonal of L / (L + I).

        With `nonempty` it is divided by the probability of a subset that is not empty.
        """
        shares = self.spectrum.values / (1 + self.spectrum.values)
        found = np.einsum("bj,bji->bi", shares, self.spectrum.vectors**2)
        return found / (1 - self.empty_chances[:, None]) if self.nonempty else found

    def log_probability(self, masks: np.ndarray) -> np.ndarray:
        """Returns the logarithm of the probability of subsets.

        Args:
            masks: Bool `[kernels, subsets, items]`, True for the items of a subset.

        Returns:
            Float64 `[kernels, subsets]`; minus infinity for subsets that are never drawn.
        """
        found = log_minors(self.spectrum.matrices(), masks) - self.log_normalizers[:, None]
        return np.where(masks.any(axis=2), found, -np.inf) if self.nonempty else found

    def sample(self, draws: int, *, seed: int) -> np.ndarray:
        """Draws subsets by tensorflow-probability.

        Args:
            draws: Number of draws from each kernel.
            seed: The same seed gives the same subsets.

        Returns:
            Bool `[kernels, draws, items]`, True for the items of a subset.

        Raises:
            ConfigError: The number of draws is below 1, tensorflow-probability cannot be imported, or nearly all draws
                would be empty and rejected.
        """
        draws, seed = whole_number("draws", draws), seed_number(seed)
        if self.nonempty and (chance := 1 - self.empty_chances.max()) < _LEAST_CHANCE:
            raise ConfigError(
                f"expected subsets that are rarely empty, received an L-ensemble of which a fraction of {chance:.2g} "
                "is not; give a larger expected size"
            )
        process = _determinantal_point_process()(
            tf.constant(self.spectrum.values), tf.constant(self.spectrum.vectors.transpose(0, 2, 1))
        )
        kernels, items = self.spectrum.values.shape
        at_once = min(draws, max(1, _BYTES // (8 * kernels * items**2)))
        found: list[list[np.ndarray]] = [[] for _ in range(kernels)]
        seeds = np.random.default_rng(seed)
        while min(map(len, found)) < draws:
            pair = tf.constant(seeds.integers(2**30, size=2), tf.int32)
            drawn = process.sample(at_once, seed=pair).numpy().astype(bool)
            for mine, masks in zip(found, drawn.transpose(1, 0, 2), strict=True):
                mine += list(masks[masks.any(axis=1)] if self.nonempty else masks)
        return np.stack([np.array(mine[:draws]) for mine in found])


def _determinantal_point_process() -> Any:
    """Returns the class of tensorflow-probability; `ConfigError` in one line if it cannot be imported."""
    try:
        # What is missing is printed in paragraphs, besides the error; `distutils` is deprecated.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import tensorflow_probability

            return tensorflow_probability.distributions.DeterminantalPointProcess
    except Exception as error:  # with a TensorFlow that it does not know, it can raise anything
        raise ConfigError(
            "expected the packages tensorflow-probability and tf-keras, which draw subsets of random size, received "
            f"{first_line(error)}; run: pip install 'tensorflow-probability>=0.25,<0.26' 'tf-keras>=2.21,<2.23'"
        ) from error
