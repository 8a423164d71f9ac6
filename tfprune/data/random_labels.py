"""A data set whose training labels are drawn at random."""

from dataclasses import replace

import numpy as np

from tfprune.data.image_data import ImageData

_SEED = 12345


def random_labels(data: ImageData, seed: int = _SEED) -> ImageData:
    """Replaces all training labels by random ones; about one in `num_classes` keeps its own by chance.

    Args:
        data: The data set. It is not changed; the test labels stay.
        seed: Seed of the draws. With the default they are, for as many images, those of the original.

    Returns:
        The data set with other training labels.

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), the authors' `CIFAR10RandomLabels`, after Zhang et
        al., Understanding Deep Learning Requires Rethinking Generalization (ICLR 2017).
    """
    generator = np.random.RandomState(seed)
    count = len(data.train_labels)
    generator.rand(count)  # the original draws which labels to replace, and then replaces all
    return replace(data, train_labels=generator.choice(data.num_classes, count).astype(np.int64))
