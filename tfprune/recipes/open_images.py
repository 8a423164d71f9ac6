"""The data set that the settings of a run name."""

from typing import Any

from tfprune.recipes.data import ImageData, ImageDataset, data_fraction, load_data, open_data
from tfprune.recipes.imagenet_config import ImageNetConfig
from tfprune.recipes.run_config import RunConfig


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


def asked_part(config: Any, data: ImageDataset) -> ImageDataset:
    """The part of a data set in memory that the setting `fraction` asks for; one on the disk whole.

    Args:
        config: Settings with `fraction` and `seed`.
        data: The data set. It is not changed.
    """
    if config.fraction == 1 or not isinstance(data, ImageData):
        return data
    return data_fraction(data, config.fraction, config.seed)
