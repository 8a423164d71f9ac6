"""Which nodes or edges of a student stay."""

import numpy as np

from tfprune.dpp import KDPP, Committee, dppy_draws, edge_kernels, node_kernel
from tfprune.errors import ConfigError

_PLURAL = {"node": "nodes", "edge": "edges of a node"}


def draw_masks(
    choice: str,
    student: Committee,
    moments: np.ndarray,
    k: int,
    count: int,
    *,
    seed: int,
    original_quirks: bool = False,
    sampler: str = "tfprune",
) -> np.ndarray:
    """Draws masks.

    Args:
        choice: Name of the way, see `Choice`.
        student: The student, with rows of equal length.
        moments: Second moments of its inputs, `[inputs, inputs]`.
        k: Nodes to keep, or edges to keep in each node.
        count: How many masks; choices by importance have only one.
        seed: The same seed gives the same masks.
        original_quirks: See `PruneStudentConfig`.
        sampler: What draws from DPPs, see `PruneStudentConfig`.

    Returns:
        Bool `[masks, hidden, inputs]`, True for what stays.

    Raises:
        ConfigError: There are fewer than k, or the kernel's rank is lower.
    """
    way, kind = choice.rsplit("_", 1)
    total = student.hidden if kind == "node" else student.inputs
    if not 1 <= k <= total:
        raise ConfigError(f"--k: expected from 1 to the {total} {_PLURAL[kind]} there are, received {k}")
    rng = np.random.default_rng(seed)
    if kind == "node":
        if way == "dpp":
            drawn = _drawn(sampler, node_kernel(student.weights, moments), k, count, int(rng.integers(2**31)))
            nodes = as_mask(drawn[0], student.hidden)
        else:
            nodes = _nodes(way, student, k, count, rng, original_quirks)
        return np.repeat(nodes[:, :, None], student.inputs, axis=2)
    if way == "dpp":
        drawn = _drawn(sampler, edge_kernels(student.weights, moments), k, count, seed)
        return as_mask(drawn.transpose(1, 0, 2), student.inputs)
    if way == "random" and original_quirks:
        return rng.random((count, *student.weights.shape)) < k / student.inputs
    ranks = np.abs(student.weights)[None] if way == "importance" else rng.random((count, *student.weights.shape))
    return as_mask(np.argsort(-ranks, axis=2, kind="stable")[:, :, :k], student.inputs)


def _drawn(sampler: str, kernels: np.ndarray, k: int, count: int, seed: int) -> np.ndarray:
    """Int `[kernels, count, k]`."""
    if sampler == "dppy":
        return dppy_draws(kernels, k, count, seed=seed % 2**32)
    return KDPP(kernels, k).sample(count, seed=seed)


def _nodes(way: str, student: Committee, k: int, count: int, rng: np.random.Generator, quirks: bool) -> np.ndarray:
    """Bool `[masks, hidden]`, not by a DPP."""
    if way == "importance":
        ranks = (student.outgoing if quirks else np.abs(student.outgoing))[None]
    else:
        ranks = rng.random((count, student.hidden))
    return as_mask(np.argsort(-ranks, axis=1, kind="stable")[:, :k], student.hidden)


def as_mask(chosen: np.ndarray, size: int) -> np.ndarray:
    """Bool `[..., size]` with the chosen positions, `[..., k]`, marked."""
    mask = np.zeros((*chosen.shape[:-1], size), bool)
    np.put_along_axis(mask, chosen, True, axis=-1)
    return mask
