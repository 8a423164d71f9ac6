"""Masks with as many ones in each layer, elsewhere."""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfprune.errors import ConfigError
from tfprune.masks.masks import Masks


def layer_generator(seed: int, name: str) -> np.random.Generator:
    """Random numbers for one weight: they depend on the seed and its name, not on the other weights.

    Args:
        seed: The seed, at least 0.
        name: Name of the weight.
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def rearranged_masks(masks: Masks, seed: int) -> Masks:
    """Permutes every mask, so that each layer keeps as many weights, but any of them.

    Args:
        masks: The masks.
        seed: Seed of the permutations.

    Returns:
        Masks with the same counts.

    Example:
        >>> masks = Masks({"fc/kernel": np.eye(4)})
        >>> rearranged_masks(masks, seed=0).counts == masks.counts
        True

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), layerwise rearrange; the authors' `--rearrange`.
    """
    return Masks(
        {
            name: layer_generator(seed, name).permutation(mask.ravel()).reshape(mask.shape)
            for name, mask in masks.items()
        }
    )


def inverse_masks(masks: Masks, scores: Mapping[str, Any]) -> Masks:
    """Keeps in each layer as many weights, those of the lowest scores.

    Args:
        masks: Say how many.
        scores: Arrays of the masks' shapes, such as `WeightCriterion.weight_scores` gives; of equal ones the first in
            the array are kept.

    Returns:
        Masks with the same counts.

    Raises:
        ConfigError: A weight has no scores, or scores of another shape or that cannot be compared.

    Example:
        >>> masks = Masks({"fc/kernel": np.array([0, 0, 1])})
        >>> inverse_masks(masks, {"fc/kernel": np.array([1.0, 2.0, 3.0])})["fc/kernel"]
        array([ True, False, False])
    """
    masks.check(scores)
    found = {}
    for name, mask in masks.items():
        flat = np.asarray(scores[name]).ravel()
        if not np.isfinite(flat).all():
            raise ConfigError(f"expected finite scores of {name}, received infinite ones or NaN; score it anew")
        lowest = np.argsort(flat, kind="stable")[: np.count_nonzero(mask)]
        kept = np.zeros(mask.size, bool)
        kept[lowest] = True
        found[name] = kept.reshape(mask.shape)
    return Masks(found)
