"""The data of a run, as its settings spoil them."""

from tfprune.data import ImageData, data_fraction, random_labels, shuffled_pixels
from tfprune.methods.tickets.dense_config import DenseConfig


def corrupted(config: DenseConfig, data: ImageData) -> ImageData:
    """Applies `fraction`, `random_labels` and `shuffle_pixels` to the training images.

    Args:
        config: The settings.
        data: The data set. It is not changed.
    """
    if config.fraction < 1:
        data = data_fraction(data, config.fraction, config.seed, first=config.first_images)
    if config.random_labels:
        data = random_labels(data)
    if config.shuffle_pixels:
        data = shuffled_pixels(data, config.seed, fixed=config.fixed_permutation)
    return data
