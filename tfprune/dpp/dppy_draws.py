"""Draws by the library DPPy: slower, and another pair of eyes."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.dpp.elementary_symmetric import traced_log_elementary_symmetric
from tfprune.dpp.kdpp import checked_rank, checked_size
from tfprune.dpp.spectrum import Spectrum


def dppy_draws(kernels: Any, size: int, draws: int, *, seed: int) -> np.ndarray:
    """Draws subsets from k-DPPs with DPPy, one eigendecomposition for each kernel.

    DPPy fails ("probabilities do not sum to 1") for float32 kernels, and where elementary symmetric polynomials leave
    the range of float64. So it is given a float64 spectrum, scaled so that the one that it divides by is about 1, which
    leaves the k-DPP the same, and the polynomials, from their logarithms.

    Args:
        kernels: `[items, items]`, `[kernels, items, items]`, or their `Spectrum`.
        size: k.
        draws: How many from each kernel.
        seed: The same seed gives the same subsets.

    Returns:
        Int `[kernels, draws, size]`, in the order in which they were drawn.

    Raises:
        ConfigError: The kernels are unfit, or the size is.

    Reference:
        Gautier et al., DPPy: DPP sampling with Python (JMLR 2019); its issues 61, 70, 80.
    """
    from dppy.finite_dpps import FiniteDPP  # takes its time

    spectrum = kernels if isinstance(kernels, Spectrum) else Spectrum.of(kernels)
    checked_size(size, spectrum.items)
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
