"""The data of a run, as its settings spoil them."""

from tfprune.errors import ConfigError
from tfprune.recipes.data import ImageData, ImageDataset, data_fraction, random_labels, shuffled_pixels
from tfprune.recipes.tickets.dense_config import DenseConfig


def corrupted(config: DenseConfig, data: ImageDataset) -> ImageDataset:
    """Applies `fraction`, `random_labels` and `shuffle_pixels` to the training images.

    Args:
        config: The settings.
        data: The data set. It is not changed.

    Raises:
        ConfigError: The images are not in memory, and the settings ask for any of these.
    """
    if config.fraction == 1 and not (config.random_labels or config.shuffle_pixels):
        return data
    if not isinstance(data, ImageData):
        raise ConfigError(
            "--fraction, --random_labels, --shuffle_pixels: expected none of them for images that are read from the "
            "disk, received one; leave it out, or take a data set that is in memory"
        )
    if config.fraction < 1:
        data = data_fraction(data, config.fraction, config.seed, first=config.first_images)
    if config.random_labels:
        data = random_labels(data)
    if config.shuffle_pixels:
        data = shuffled_pixels(data, config.seed, fixed=config.fixed_permutation)
    return data
