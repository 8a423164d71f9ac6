"""The data set that the settings of a run name."""

from tfprune.data import ImageDataset, load_data, open_data
from tfprune.methods.imagenet_config import ImageNetConfig
from tfprune.methods.run_config import RunConfig


def open_images(config: RunConfig) -> ImageDataset:
    """Opens a data set: in memory, or on the disk if it is one like ImageNet.

    Args:
        config: Settings; those that are an `ImageNetConfig`, too, name data on the disk.

    Raises:
        DataUnavailableError: It is not there.
        ConfigError: It cannot be used.
    """
    if isinstance(config, ImageNetConfig):
        return open_data(config.data_path, config.dataset, image_size=config.image_size, resize_size=config.resize_size)
    return load_data(config.dataset, config.data_path)
