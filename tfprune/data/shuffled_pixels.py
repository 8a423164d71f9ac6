"""A data set whose training images are scrambled."""

from dataclasses import replace

import numpy as np

from tfprune.data.image_data import ImageData


def shuffled_pixels(data: ImageData, seed: int = 0, *, fixed: bool = False) -> ImageData:
    """Permutes all values of every training image, positions and colours mixed.

    Args:
        data: The data set. It is not changed; the test images stay.
        seed: Seed of the permutations.
        fixed: One permutation for all images, rather than another one for each as in the original.

    Returns:
        The data set with other training images.

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), the authors' `--shufflePixel`, which also draws
        labels at random: see `random_labels`.
    """
    generator = np.random.default_rng(seed)
    flat = data.train_images.reshape(len(data.train_images), -1)
    moved = flat[:, generator.permutation(flat.shape[1])] if fixed else generator.permuted(flat, axis=1)
    return replace(data, train_images=np.ascontiguousarray(moved).reshape(data.train_images.shape))
