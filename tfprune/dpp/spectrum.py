"""Spectra of kernels and their elementary symmetric polynomials, from which k-DPPs are sampled.

The eigendecomposition is the expensive part of a k-DPP; a `Spectrum` is computed once and serves all sizes and draws.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.special import expit

from tfprune.arrays import checked_array
from tfprune.errors import ConfigError
from tfprune.reprs import short_repr

_NEGATIVE = 1e-8  # largest negative eigenvalue, relative to the largest one, that counts as rounding
_ASYMMETRY = 1e-6  # largest difference to the transpose, relative to the largest entry


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues and eigenvectors of kernels of one size.

    Attributes:
        values: Float64 `[kernels, items]`, ascending, at least 0; exactly 0 beyond the numerical rank.
        vectors: Float64 `[kernels, items, items]`, one eigenvector per row.

    Example:
        >>> Spectrum.from_kernels(np.diag([3.0, 1.0, 0.0])).ranks.tolist()
        [2]
    """

    values: np.ndarray
    vectors: np.ndarray

    __repr__ = short_repr

    @classmethod
    def from_kernels(cls, kernels: Any) -> "Spectrum":
        """Decomposes kernels in float64, as float32 eigenvectors are not orthonormal enough.

        Args:
            kernels: Symmetric, positive semidefinite, `[items, items]` or `[kernels, items, items]`.

        Returns:
            Their spectrum.

        Raises:
            ConfigError: A kernel is not square, finite, symmetric, or has negative eigenvalues beyond rounding.
        """
        kernels = checked_array(kernels, "kernel", finite=False)
        rounding = np.finfo(np.float32 if kernels.dtype in (np.float32, np.float16) else np.float64).eps
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
        """The largest number of items of a subset, `[kernels]`."""
        return np.count_nonzero(self.values, axis=1)

    def matrices(self) -> np.ndarray:
        """Returns the kernels, `[kernels, items, items]`."""
        return (self.vectors.transpose(0, 2, 1) * self.values[:, None]) @ self.vectors

    @property
    def items(self) -> int:
        """The size of the ground set."""
        return self.values.shape[1]

    @property
    def kernels(self) -> int:
        """The number of kernels."""
        return len(self.values)


def checked_kernels(kernels: Any) -> np.ndarray:
    """Returns kernels in float64, `[kernels, items, items]`; `ConfigError` unless square, finite and symmetric."""
    kernels = checked_array(kernels, "kernel", finite=False).astype(np.float64, copy=False)
    kernels = kernels[None] if kernels.ndim == 2 else kernels
    if kernels.ndim != 3 or kernels.shape[1] != kernels.shape[2] or not kernels.size:
        raise ConfigError(f"expected square kernels [items, items], received an array of shape {kernels.shape}")
    for kernel in kernels:  # one by one, as one may fit into the processor's cache
        _check_kernel(kernel)
    return kernels


def _check_kernel(kernel: np.ndarray) -> None:
    """Raises `ConfigError` unless a kernel is finite and symmetric."""
    if not np.isfinite(kernel).all():
        raise ConfigError("expected a finite kernel, received NaN or infinity in it; check the data and the weights")
    if np.array_equal(kernel, kernel.T):
        return
    difference = np.abs(kernel - kernel.T).max()
    if difference > _ASYMMETRY * np.abs(kernel).max():
        raise ConfigError(
            f"expected a symmetric kernel, received one that differs from its transpose by {difference:.3g}"
        )


def log_minors(kernels: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """Computes log det(L_S), which is 0 for the empty subset.

    Args:
        kernels: `[kernels, items, items]`.
        subsets: Items `[kernels, subsets, size]`, or bool masks `[kernels, subsets, items]`.

    Returns:
        Float64 `[kernels, subsets]`; minus infinity if no subset of these items is ever drawn.
    """
    subsets = checked_array(subsets, "subsets")
    items = kernels.shape[1]
    masks = subsets.dtype == bool and subsets.shape[2:] == (items,)
    numbers = subsets.dtype.kind in "iu" and ((subsets >= 0) & (subsets < items)).all()
    if subsets.ndim != 3 or len(subsets) != len(kernels) or not (masks or numbers):
        raise ConfigError(
            f"subsets: expected [{len(kernels)}, subsets, size] of items below {items}, or masks of {items} items, "
            f"received {subsets.dtype} of shape {list(subsets.shape)}"
        )
    found = np.empty(subsets.shape[:2])
    for kernel, row, chosen in zip(kernels, found, subsets, strict=True):
        for number, subset in enumerate(chosen):
            sign, log = np.linalg.slogdet(kernel[np.ix_(subset, subset)])
            row[number] = log if sign > 0 else -np.inf
    return found


def shift_to_size(logs: np.ndarray, size: float) -> np.ndarray:
    """Solves for the shift m with which the sum of x / (1 + x) over x = exp(log + m) is a size.

    The sum grows with m, so that bisection finds the one solution, to the rounding of float64.

    Args:
        logs: `[sets, items]`; minus infinity for x = 0.
        size: Above 0 and at most the number of finite logarithms of each set, which only a shift without bound would
            reach: x / (1 + x) then rounds to 1.

    Returns:
        Float64 `[sets, 1]`.

    Example:
        >>> round(float(shift_to_size(np.zeros((1, 4)), 1)[0, 0]), 6)  # 4 / (1 + 3) = 1
        -1.098612
    """
    low = -logs.max(axis=1, keepdims=True) - 50
    high = -np.where(np.isfinite(logs), logs, np.inf).min(axis=1, keepdims=True) + 50
    for _ in range(100):
        middle = (low + high) / 2
        many = expit(logs + middle).sum(axis=1, keepdims=True) > size
        low, high = np.where(many, low, middle), np.where(many, middle, high)
    return low


def log_elementary_symmetric(log_values: tf.Tensor, order: int) -> tf.Tensor:
    """Computes logarithms of the elementary symmetric polynomials of the first n values, for every n.

    In plain float64 they overflow or underflow for a few hundred values.

    Args:
        log_values: Logarithms of values of at least 0, float64 `[batch, values]`; minus infinity for 0.
        order: The highest order.

    Returns:
        Float64 `[values + 1, batch, order + 1]`: entry `[n, b, j]` is log e_j of the first n values of b.

    Example:
        >>> table = log_elementary_symmetric(tf.math.log(tf.constant([[1.0, 2.0, 3.0]], tf.float64)), 2)
        >>> [round(float(value), 6) for value in tf.exp(table[-1, 0])]
        [1.0, 6.0, 11.0]

    Reference:
        Kulesza and Taskar, Determinantal point processes for machine learning (2012), algorithm 7.
    """
    count, batch = log_values.shape[1], tf.shape(log_values)[0]
    nothing = tf.fill([batch, 1], tf.constant(-float("inf"), tf.float64))
    row = tf.concat([tf.zeros([batch, 1], tf.float64), tf.repeat(nothing, order, axis=1)], 1)
    rows = tf.TensorArray(tf.float64, count + 1, element_shape=[log_values.shape[0], order + 1]).write(0, row)

    def step(n: tf.Tensor, row: tf.Tensor, rows: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        with_value = tf.concat([nothing, row[:, :-1] + log_values[:, n, None]], 1)
        row = _log_add(row, with_value)
        return n + 1, row, rows.write(n + 1, row)

    rows = tf.while_loop(lambda n, *_: n < count, step, [0, row, rows])[2]
    return rows.stack()


def traced_log_elementary_symmetric(log_values: tf.Tensor, order: int) -> tf.Tensor:
    """Calls `log_elementary_symmetric` as a traced function, one for each shape."""
    return _traced(tuple(log_values.shape), order)(log_values)


@lru_cache(maxsize=64)
def _traced(shape: tuple[int, int], order: int) -> tf.types.experimental.PolymorphicFunction:
    """Returns one traced function for each shape."""
    del shape
    return tf.function(partial(log_elementary_symmetric, order=order), autograph=False)


def _log_add(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Computes log(exp a + exp b)."""
    high, low = tf.maximum(a, b), tf.minimum(a, b)
    shift = tf.where(tf.math.is_inf(high), tf.zeros_like(high), high)  # inf - inf would be NaN
    return high + tf.math.log1p(tf.exp(low - shift))
