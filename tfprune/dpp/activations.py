"""The activations of the teacher-student networks, and what two of them have in common under Gaussian inputs."""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from scipy.special import erf, expit

from tfprune.errors import ConfigError

Nonlinearity = Literal["erf", "sigmoid", "relu"]

_NODES = 96


def activation(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """The function: erf(h / sqrt 2), the logistic 1 / (1 + exp(-h)), or max(h, 0); `ConfigError` for others."""
    functions: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "erf": lambda h: erf(h / np.sqrt(2)),
        "sigmoid": expit,
        "relu": lambda h: np.maximum(h, 0),
    }
    if name not in functions:
        raise ConfigError(f"nonlinearity: expected {', '.join(get_args(Nonlinearity))}, received {name!r}")
    return functions[name]


def expected_products(
    first: str, second: str, covariances: np.ndarray, first_variances: np.ndarray, second_variances: np.ndarray
) -> np.ndarray:
    """E[g(u_i) f(v_j)] for jointly Gaussian u, v with mean 0.

    In closed form for erf with erf and ReLU with ReLU; other pairs by Gauss-Hermite quadrature.

    Args:
        first: Name of g.
        second: Name of f.
        covariances: `[i, j]`.
        first_variances: `[i]`.
        second_variances: `[j]`.

    Returns:
        Float64 `[i, j]`.

    Example:
        >>> float(expected_products("relu", "relu", np.eye(1), np.ones(1), np.ones(1))[0, 0])
        0.5

    Reference:
        Saad and Solla, On-line learning in soft committee machines (1995) for erf; Cho and Saul, Kernel methods for
        deep learning (2009) for ReLU.
    """
    a, b, c = np.asarray(first_variances)[:, None], np.asarray(second_variances)[None, :], np.asarray(covariances)
    if first == second == "erf":
        return 2 / np.pi * np.arcsin(np.clip(c / np.sqrt((1 + a) * (1 + b)), -1, 1))
    if first == second == "relu":
        scale = np.sqrt(a * b)
        angle = np.arccos(np.clip(np.divide(c, scale, out=np.zeros_like(c + scale), where=scale > 0), -1, 1))
        return scale / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * np.cos(angle))
    return _quadrature(activation(first), activation(second), a + 0 * c, b + 0 * c, c)


def _quadrature(g: Callable, f: Callable, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The expectation over u = sqrt(a) s and v = (c / a) u + rest t, s and t standard normal."""
    points, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    slope = np.divide(c, np.sqrt(a), out=np.zeros_like(c, dtype=float), where=a > 0)
    rest = np.sqrt(np.maximum(b - slope**2, 0))
    inner = f(slope[..., None, None] * points[:, None] + rest[..., None, None] * points) @ weights
    return (g(np.sqrt(a)[..., None] * points) * inner) @ weights
