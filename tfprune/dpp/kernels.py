"""Kernels of nodes and edges, and the reweighting of what is kept, both from second moments of the inputs.

A kernel is large where two nodes, or two edges of a node, carry the same signal, so that a DPP rarely keeps both.
Reweighting changes the kept edges (or the weights that read the kept nodes) by least squares, so that the next layer
receives nearly what it received before.
"""

from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from tfprune.arguments import number
from tfprune.arrays import checked_array
from tfprune.errors import ConfigError

_LEAST_PIVOT = 1e-9  # relative; below it, a far slower singular value decomposition solves the system


def gram(inputs: np.ndarray) -> np.ndarray:
    """Returns the second moments of examples, C = X'X / P, from which all kernels follow.

    Args:
        inputs: `[examples, features]`, at least one.

    Returns:
        Float64 `[features, features]`.

    Raises:
        ConfigError: The inputs have another shape, or a number is not finite.
    """
    inputs = _numbers(inputs, "inputs")
    if inputs.ndim != 2 or not len(inputs):
        raise ConfigError(f"inputs: expected examples of shape [examples, features], received {list(inputs.shape)}")
    return inputs.T @ inputs / len(inputs)


def node_kernel(weights: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Returns the second moments of the inputs of nodes, W C W'.

    Args:
        weights: `[nodes, features]`.
        moments: C, `[features, features]`, see `gram`.

    Returns:
        Float64 `[nodes, nodes]`.

    Raises:
        ConfigError: The shapes do not agree, or a number is not finite.

    Reference:
        Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021), teacher-student setup.
    """
    weights, moments = _matrices(weights, moments)
    return weights @ moments @ weights.T


def edge_kernels(weights: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Returns, for each node, the second moments of the signals of its edges: C times w_i w_i', entry by entry.

    Args:
        weights: `[nodes, features]`.
        moments: C, `[features, features]`.

    Returns:
        Float64 `[nodes, features, features]`.

    Raises:
        ConfigError: The shapes do not agree, or a number is not finite.
    """
    weights, moments = _matrices(weights, moments)
    return moments * weights[:, :, None] * weights[:, None, :]


def rbf_node_kernel(weights: np.ndarray, moments: np.ndarray, beta: float, ridge: float = 0.01) -> np.ndarray:
    """Returns the RBF of distances between the inputs f of nodes over all examples: exp(-beta |f_a - f_b|^2) + ridge I.

    Args:
        weights: `[nodes, features]`.
        moments: The sum X'X, `[features, features]`, not divided by the number of examples.
        beta: Inverse squared width.
        ridge: What is added to the diagonal.

    Returns:
        Float64 `[nodes, nodes]`.
    """
    return _rbf(node_kernel(weights, moments), beta, ridge)


def rbf_edge_kernel(weights: np.ndarray, moments: np.ndarray, beta: float, ridge: float = 0.01) -> np.ndarray:
    """Returns the RBF of distances between the signals of the edges of one node.

    Args:
        weights: Weights of one node, `[features]`.
        moments: The sum X'X, `[features, features]`.
        beta: Inverse squared width.
        ridge: What is added to the diagonal.

    Returns:
        Float64 `[features, features]`.
    """
    return _rbf(edge_kernels(_numbers(weights, "weights")[None], moments)[0], beta, ridge)


def _rbf(products: np.ndarray, beta: float, ridge: float) -> np.ndarray:
    """Returns the RBF kernel of vectors with these inner products."""
    beta, ridge = number("beta", beta, at_least=0), number("ridge", ridge, at_least=0)
    squares = np.diagonal(products)
    distances = np.maximum(squares[:, None] + squares - 2 * products, 0.0)
    np.fill_diagonal(distances, 0.0)
    return np.exp(-beta * distances) + ridge * np.eye(len(products))


def reweighted_edges(weights: np.ndarray, mask: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Changes the kept edges of each node so that its input stays as close as possible to what it was.

    delta = argmin |X_S delta - X_cut w_cut|^2, the shortest one if several are equally good.

    Args:
        weights: `[nodes, features]`.
        mask: Bool `[nodes, features]`, True for kept edges.
        moments: X'X of the examples, perhaps divided by their number, `[features, features]`.

    Returns:
        Float64 `[nodes, features]`, zero for removed edges.

    Raises:
        ConfigError: The shapes do not agree, or a number is not finite.
    """
    weights, mask = _numbers(weights, "weights"), _mask(mask, "mask")
    weights, moments = _matrices(weights, moments, masks_fit=mask.shape == weights.shape)
    weights = weights.copy()
    for row, kept in zip(weights, mask, strict=True):
        received = moments[np.ix_(kept, ~kept)] @ row[~kept]
        row[kept] += least_squares(moments[np.ix_(kept, kept)], received)
        row[~kept] = 0.0
    return weights


def reweighted_readers(outgoing: np.ndarray, kept: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Changes the weights that read the kept nodes so that the inputs of the readers stay close to what they were.

    A = argmin |H_S A - H_cut|^2, v_S += A v_cut.

    Args:
        outgoing: `[nodes, readers]` or `[nodes]`.
        kept: Bool `[nodes]`.
        moments: H'H of the nodes' signals, `[nodes, nodes]`.

    Returns:
        Float64, the new weights, zero for removed nodes.

    Raises:
        ConfigError: The shapes do not agree, or a number is not finite.
    """
    outgoing, kept = _numbers(outgoing, "outgoing").copy(), _mask(kept, "kept")
    moments = _moments(moments, len(outgoing) if outgoing.ndim else 0, masks_fit=kept.shape == outgoing.shape[:1])
    outgoing[kept] += transfer(moments, kept) @ outgoing[~kept]
    outgoing[~kept] = 0.0
    return outgoing


def transfer(moments: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Returns the least-squares coefficients, of minimum norm, of the removed signals on the kept ones.

    Args:
        moments: Second moments of all signals, `[signals, signals]`.
        kept: Bool `[signals]`.

    Returns:
        Float64 `[kept, removed]`.
    """
    kept = _mask(kept, "kept")
    moments = _moments(moments, kept.size, masks_fit=kept.ndim == 1)
    return least_squares(moments[np.ix_(kept, kept)], moments[np.ix_(kept, ~kept)])


def least_squares(among: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Returns the X that minimizes |among @ X - across|, the shortest one if several are equally good.

    Args:
        among: Second moments of the signals to combine, `[signals, signals]`.
        across: Their products with the signals to match, `[signals, targets]` or `[signals]`.

    Returns:
        Float64, of the shape of `across`. Directions whose moment is below `signals` times the rounding of the largest
        one count as none.
    """
    among, across = _numbers(among, "among"), _numbers(across, "across")
    if among.shape != across.shape[:1] * 2 or across.ndim not in (1, 2):
        raise ConfigError(
            f"expected moments [signals, signals] and [signals, targets], received shapes {list(among.shape)} and "
            f"{list(across.shape)}"
        )
    if not among.size or not across.size:
        return np.zeros(across.shape)
    try:
        factor, lower = cho_factor(among)
        pivots = np.diagonal(factor) ** 2
        if pivots.min() > _LEAST_PIVOT * pivots.max():
            return cho_solve((factor, lower), across)
    except LinAlgError:
        pass  # singular: the signals depend on one another
    return np.linalg.lstsq(among, across, rcond=len(among) * np.finfo(float).eps)[0]


def _numbers(value: Any, name: str) -> np.ndarray:
    return checked_array(value, name, within=np.float64).astype(np.float64, copy=False)


def _mask(value: Any, name: str) -> np.ndarray:
    return checked_array(value, name).astype(bool, copy=False)


def _matrices(weights: Any, moments: Any, *, masks_fit: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights and moments in float64; raises `ConfigError` if shapes do not agree or numbers are not finite."""
    weights = _numbers(weights, "weights")
    if weights.ndim != 2:
        raise ConfigError(f"weights: expected an array [nodes, features], received shape {list(weights.shape)}")
    return weights, _moments(moments, weights.shape[1], masks_fit=masks_fit)


def _moments(moments: Any, size: int, *, masks_fit: bool) -> np.ndarray:
    moments = _numbers(moments, "second moments")
    if moments.shape != (size, size) or not masks_fit:
        raise ConfigError(
            f"expected second moments of shape {(size, size)} and a mask of the weights' shape, received moments of "
            f"shape {moments.shape}; take masks and moments of the same network"
        )
    return moments
