"""Data sets by name."""

import os
from collections.abc import Callable

from tfprune.data.cifar import load_cifar10, load_cifar100
from tfprune.data.digits import load_digits
from tfprune.data.image_data import ImageData
from tfprune.data.mnist import load_mnist
from tfprune.data.tiny_imagenet import load_tiny_imagenet
from tfprune.errors import ConfigError

_Path = str | os.PathLike[str] | None

_SOURCES: dict[str, Callable[[_Path], ImageData]] = {
    "CIFAR10": load_cifar10,
    "CIFAR100": load_cifar100,
    "digits": lambda data_path: load_digits(),
    "tiny-imagenet": load_tiny_imagenet,
    "MNIST": load_mnist,
}


def data_names() -> tuple[str, ...]:
    """The names that `load_data` knows."""
    return tuple(_SOURCES)


def load_data(name: str, data_path: _Path = None) -> ImageData:
    """A data set, whole in memory.

    Args:
        name: One of `data_names()`; capitals do not matter.
        data_path: Where TensorFlow Datasets keeps its prepared data; `None` for its default. `digits` needs no files;
            for `tiny-imagenet` the folder that holds `train` and `val`.

    Returns:
        The data set, images and labels in file order.

    Raises:
        ConfigError: The name is unknown.
        DataUnavailableError: The data is neither on disk nor can it be downloaded.

    Example:
        >>> load_data("digits").train_images.shape
        (1437, 8, 8, 1)
    """
    for known, source in _SOURCES.items():
        if known.casefold() == name.casefold():
            return source(data_path)
    raise ConfigError(f"expected a data set of {', '.join(_SOURCES)}, received {name!r}; use one of these names")
