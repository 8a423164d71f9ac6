"""Kernels that say how much two nodes, or two edges of a node, are worth together."""

import numpy as np


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
