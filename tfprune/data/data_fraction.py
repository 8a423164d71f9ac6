"""A part of the training images."""

from dataclasses import replace

import numpy as np

from tfprune.data.image_data import ImageData
from tfprune.errors import ConfigError


def data_fraction(data: ImageData, fraction: float, seed: int = 0, *, first: bool = False) -> ImageData:
    """Leaves out training images.

    Args:
        data: The data set. It is not changed; the test images stay.
        fraction: Fraction of the training images to keep, above 0 and at most 1; of each class, unless `first`, rounded
            up to whole images.
        seed: Seed of the choice.
        first: Take the first ones of the file instead of a choice by class. The authors' half of CIFAR is its first
            24,960 of 50,000 images, a fraction of 0.4992.

    Returns:
        The data set with fewer training images, in file order.

    Raises:
        ConfigError: The fraction is out of range.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"expected a fraction of the data above 0 and at most 1, received {fraction!r}; for half 0.5")
    labels = data.train_labels
    if first:
        chosen = np.arange(_share(len(labels), fraction))
    else:
        generator = np.random.default_rng(seed)
        parts = [np.flatnonzero(labels == label) for label in range(data.num_classes)]
        chosen = np.sort(np.concatenate([generator.permutation(part)[: _share(len(part), fraction)] for part in parts]))
    return replace(data, train_images=data.train_images[chosen], train_labels=labels[chosen])


def _share(count: int, fraction: float) -> int:
    """Rounded up, but for what is no more than rounding of the fraction itself."""
    return min(count, int(np.ceil(round(count * fraction, 6))))
