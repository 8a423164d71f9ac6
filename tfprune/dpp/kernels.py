"""Kernels that say how much two nodes, or two edges of a node, are worth together."""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from tfprune.errors import ConfigError

_WELL = 1e-9


def gram(inputs: np.ndarray) -> np.ndarray:
    """Second moments of examples, C = X'X / P, from which all kernels follow.

    Args:
        inputs: `[examples, features]`.

    Returns:
        Float64 `[features, features]`.
    """
    inputs = np.asarray(inputs, np.float64)
    return inputs.T @ inputs / len(inputs)


def node_kernel(weights: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Second moments of what the nodes receive, W C W'.

    Args:
        weights: `[nodes, features]`.
        moments: C, `[features, features]`, see `gram`.

    Returns:
        Float64 `[nodes, nodes]`.

    Reference:
        Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021), teacher-student setup.
    """
    weights = np.asarray(weights, np.float64)
    return weights @ moments @ weights.T


def edge_kernels(weights: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """For each node, second moments of what its edges carry: C times w_i w_i', entry by entry.

    Args:
        weights: `[nodes, features]`.
        moments: C, `[features, features]`.

    Returns:
        Float64 `[nodes, features, features]`.
    """
    weights = np.asarray(weights, np.float64)
    return moments * weights[:, :, None] * weights[:, None, :]


def rbf_node_kernel(weights: np.ndarray, moments: np.ndarray, beta: float, ridge: float = 0.01) -> np.ndarray:
    """RBF of the distances between what the nodes receive, over all examples: exp(-beta |f_a - f_b|^2) + ridge I.

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
    """RBF of the distances between what the edges of one node carry.

    Args:
        weights: Of one node, `[features]`.
        moments: The sum X'X, `[features, features]`.
        beta: Inverse squared width.
        ridge: What is added to the diagonal.

    Returns:
        Float64 `[features, features]`.
    """
    return _rbf(edge_kernels(np.asarray(weights)[None], moments)[0], beta, ridge)


def _rbf(products: np.ndarray, beta: float, ridge: float) -> np.ndarray:
    squares = np.diagonal(products)
    distances = np.maximum(squares[:, None] + squares - 2 * products, 0.0)
    np.fill_diagonal(distances, 0.0)
    return np.exp(-beta * distances) + ridge * np.eye(len(products))


"""Pivots further apart than this leave the solution to a singular value decomposition, which is far slower."""


def reweighted_edges(weights: np.ndarray, mask: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Changes the kept edges of each node so that it receives, as nearly as possible, what it did.

    delta = argmin |X_S delta - X_cut w_cut|^2, the shortest one where several are as good.

    Args:
        weights: `[nodes, features]`.
        mask: Bool `[nodes, features]`, True for kept edges.
        moments: X'X of the examples, perhaps divided by their number, `[features, features]`.

    Returns:
        Float64 `[nodes, features]`, zero where cut.

    Raises:
        ConfigError: The shapes do not agree, or a number is not finite.
    """
    weights, mask = np.array(weights, np.float64), np.asarray(mask, bool)
    _check(moments, weights.shape[1], mask.shape == weights.shape)
    for row, kept in zip(weights, mask, strict=True):
        received = moments[np.ix_(kept, ~kept)] @ row[~kept]
        row[kept] += least_squares(moments[np.ix_(kept, kept)], received)
        row[~kept] = 0.0
    return weights


def reweighted_readers(outgoing: np.ndarray, kept: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Changes the weights that read the kept nodes so that the readers receive what they did.

    A = argmin |H_S A - H_cut|^2, v_S += A v_cut.

    Args:
        outgoing: `[nodes, readers]` or `[nodes]`.
        kept: Bool `[nodes]`.
        moments: H'H of the nodes' signals, `[nodes, nodes]`.

    Returns:
        Float64, the new weights, zero for nodes that were cut.

    Raises:
        ConfigError: The shapes do not agree, or a number is not finite.
    """
    outgoing, kept = np.array(outgoing, np.float64), np.asarray(kept, bool)
    _check(moments, len(outgoing), kept.shape == outgoing.shape[:1])
    outgoing[kept] += transfer(moments, kept) @ outgoing[~kept]
    outgoing[~kept] = 0.0
    return outgoing


def transfer(moments: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Least-squares coefficients of the cut signals on the kept ones, of minimum norm.

    Args:
        moments: Second moments of all signals, `[signals, signals]`.
        kept: Bool `[signals]`.

    Returns:
        Float64 `[kept, cut]`.
    """
    return least_squares(moments[np.ix_(kept, kept)], moments[np.ix_(kept, ~kept)])


def least_squares(among: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Coefficients X with among @ X = across, as nearly as possible, and the shortest ones where several are as good.

    Args:
        among: Second moments of the signals to combine, `[signals, signals]`.
        across: Their products with what is to be matched, `[signals, targets]` or `[signals]`.

    Returns:
        Float64, of the shape of `across`. Directions whose moment is below `signals` times the rounding of the largest
        one count as none.
    """
    if not among.size or not across.size:
        return np.zeros(across.shape)
    try:
        factor, lower = cho_factor(among)
        pivots = np.diagonal(factor) ** 2
        if pivots.min() > _WELL * pivots.max():
            return cho_solve((factor, lower), across)
    except LinAlgError:
        pass  # singular: the signals depend on one another
    return np.linalg.lstsq(among, across, rcond=len(among) * np.finfo(float).eps)[0]


def _check(moments: np.ndarray, size: int, masks_fit: bool) -> None:
    if moments.shape != (size, size) or not masks_fit:
        raise ConfigError(
            f"expected second moments of shape {(size, size)} and a mask of the weights' shape, received moments of "
            f"shape {moments.shape}; take masks and moments of the same network"
        )
    if not np.isfinite(moments).all():
        raise ConfigError("expected finite second moments, received NaN or infinity; mend the data")
