"""The eigendecomposition of kernels, the one expensive thing about a k-DPP, done once."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.errors import ConfigError

_NEGATIVE = 1e-8
_ASYMMETRY = 1e-6


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues and eigenvectors of kernels of one size.

    Attributes:
        values: Float64 `[kernels, items]`, ascending, at least 0; exactly 0 beyond the numerical rank.
        vectors: Float64 `[kernels, items, items]`, one eigenvector per row.

    Example:
        >>> Spectrum.of(np.diag([3.0, 1.0, 0.0])).ranks.tolist()
        [2]
    """

    values: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(cls, kernels: Any) -> "Spectrum":
        """Decomposes kernels, in float64 whatever they come in: float32 eigenvectors are not orthonormal enough.

        Args:
            kernels: Symmetric, positive semidefinite, `[items, items]` or `[kernels, items, items]`.

        Returns:
            Their spectrum.

        Raises:
            ConfigError: A kernel is not square, finite, symmetric, or has negative eigenvalues beyond rounding.
        """
        rounding = np.finfo(np.float32 if np.asarray(kernels).dtype in (np.float32, np.float16) else np.float64).eps
        kernels = checked_kernels(kernels)
        values, vectors = np.linalg.eigh((kernels + kernels.transpose(0, 2, 1)) / 2)
        largest = np.maximum(values[:, -1:], np.finfo(float).tiny)
        relative = values / largest
        bound = max(_NEGATIVE, kernels.shape[1] * rounding)
        if relative.min() < -bound:
            worst = int(relative.min(axis=1).argmin())
            raise ConfigError(
                f"expected a positive semidefinite kernel, received one with an eigenvalue of {values[worst, 0]:.3g} "
                f"(kernel {worst}, its largest: {values[worst, -1]:.3g}); make it from inner products or an RBF"
            )
        values = np.where(relative > kernels.shape[1] * rounding, values, 0.0)
        return cls(values, np.ascontiguousarray(vectors.transpose(0, 2, 1)))

    @property
    def ranks(self) -> np.ndarray:
        """How many items a subset can have, `[kernels]`."""
        return np.count_nonzero(self.values, axis=1)

    @property
    def items(self) -> int:
        """Size of the ground set."""
        return self.values.shape[1]

    @property
    def kernels(self) -> int:
        """How many kernels there are."""
        return len(self.values)


def checked_kernels(kernels: Any) -> np.ndarray:
    """Kernels in float64, `[kernels, items, items]`; `ConfigError` unless square, finite and symmetric."""
    kernels = np.asarray(kernels, np.float64)
    kernels = kernels[None] if kernels.ndim == 2 else kernels
    if kernels.ndim != 3 or kernels.shape[1] != kernels.shape[2] or not kernels.size:
        raise ConfigError(f"expected square kernels [items, items], received an array of shape {kernels.shape}")
    for kernel in kernels:  # one by one, as one may fit into the processor's cache
        _check_kernel(kernel)
    return kernels


def _check_kernel(kernel: np.ndarray) -> None:
    if not np.isfinite(kernel).all():
        raise ConfigError("expected a finite kernel, received NaN or infinity in it; mend the data or the weights")
    if np.array_equal(kernel, kernel.T):
        return
    difference = np.abs(kernel - kernel.T).max()
    if difference > _ASYMMETRY * np.abs(kernel).max():
        raise ConfigError(
            f"expected a symmetric kernel, received one that differs from its transpose by {difference:.3g}"
        )
