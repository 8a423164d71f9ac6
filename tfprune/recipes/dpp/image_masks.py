"""Masks of the first layer of an image classifier."""

import math
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from tfprune.dpp import KDPP, Committee, Spectrum, rbf_edge_kernel, rbf_node_kernel
from tfprune.recipes.dpp.mask_choices import as_mask, draw_masks
from tfprune.recipes.dpp.sigmoid_mlp import SigmoidMLP

_BYTES = 128 * 2**20


class ImageMasks:
    """Draws masks; each kernel is decomposed once for all numbers of edges.

    Args:
        model: The classifier.
        moments: Second moments of its inputs, mean over the examples, `[inputs, inputs]`.
        beta: Of the RBF kernels.
        seed: The same seed gives the same masks.

    Reference:
        Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021), image classifiers.
    """

    def __init__(self, model: SigmoidMLP, moments: np.ndarray, beta: float, seed: int) -> None:
        self._weights = model.kernels[0].T
        self._readers = model.kernels[1].shape[1]
        # Of a node, importance is the sum of its outgoing weights; of an edge, its own.
        self._ranked = Committee(self._weights, np.abs(model.kernels[1]).sum(axis=1), "sigmoid")
        self._moments, self._beta = moments, beta
        self._seeds = np.random.default_rng(seed)

    def size(self, choice: str, density: float) -> int:
        """How many edges of each node, or how many nodes, are so many weights of the first two layers."""
        width, features = self._weights.shape
        edges = max(1, int(density * features))
        nodes = math.ceil(width * (edges + self._readers) / (features + self._readers))
        return min(nodes, width) if choice.endswith("node") else edges

    def parameters(self, choice: str, k: int) -> int:
        """How many weights of the first two layers k nodes, or k edges of each node, are."""
        width, features = self._weights.shape
        return k * (features + self._readers) if choice.endswith("node") else width * (k + self._readers)

    def draw(self, choice: str, sizes: Sequence[int], count: int) -> list[np.ndarray]:
        """Masks for several numbers of nodes or edges.

        Args:
            choice: The way.
            sizes: The numbers.
            count: How many masks for each; ways by importance have one.

        Returns:
            Bool `[masks, width, inputs]` for each number.
        """
        if choice == "dpp_edge":
            return self._edges(sizes, count)
        if choice == "dpp_node":
            spectrum = Spectrum.of(rbf_node_kernel(self._weights, self._moments, self._beta))
            nodes = [as_mask(KDPP(spectrum, k).sample(count, seed=self._seed())[0], len(self._weights)) for k in sizes]
            return [np.repeat(each[:, :, None], self._weights.shape[1], axis=2) for each in nodes]
        return [draw_masks(choice, self._ranked, self._moments, k, count, seed=self._seed()) for k in sizes]

    def _edges(self, sizes: Sequence[int], count: int) -> list[np.ndarray]:
        width, features = self._weights.shape
        masks = [np.zeros((count, width, features), bool) for _ in sizes]
        at_once = max(1, _BYTES // (8 * features**2))
        for start in tqdm(range(0, width, at_once), desc="kernels of edges", disable=None, leave=False):
            rows = self._weights[start : start + at_once]
            spectrum = Spectrum.of(np.stack([rbf_edge_kernel(row, self._moments, self._beta) for row in rows]))
            for k, mask in zip(sizes, masks, strict=True):
                drawn = KDPP(spectrum, k).sample(count, seed=self._seed())
                mask[:, start : start + at_once] = as_mask(drawn.transpose(1, 0, 2), features)
        return masks

    def _seed(self) -> int:
        return int(self._seeds.integers(2**31))
