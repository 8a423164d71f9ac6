"""The weights that a ticket keeps, on each other's places."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfprune.masks.masks import Masks
from tfprune.masks.rearranged import layer_generator


def shuffled_weights(weights: Mapping[str, Any], masks: Masks, seed: int) -> dict[str, np.ndarray]:
    """Permutes the kept weights of each layer among the kept places.

    Args:
        weights: Arrays, or variables, of the masks' shapes, such as `prunable_weights(model)`. They are not changed.
        masks: Which weights are kept.
        seed: Seed of the permutations.

    Returns:
        New arrays by name; those at pruned places are as before.

    Raises:
        ConfigError: Masks and weights do not belong together.

    Example:
        >>> masks = Masks({"fc/kernel": np.array([1, 0, 1, 1])})
        >>> new = shuffled_weights({"fc/kernel": np.arange(4.0)}, masks, seed=1)["fc/kernel"]
        >>> float(new[1]), sorted(new.tolist())
        (1.0, [0.0, 1.0, 2.0, 3.0])

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020); the authors' `--shuffle_unmasked_weights`.
    """
    masks.check(weights)
    shuffled = {}
    for name, mask in masks.items():
        array = np.array(np.asarray(weights[name]))
        array[mask] = layer_generator(seed, name).permutation(array[mask])
        shuffled[name] = array
    return shuffled
