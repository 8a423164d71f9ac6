"""CIFAR-10 and CIFAR-100 through TensorFlow Datasets."""

import os

from tfprune.data.image_data import ImageData
from tfprune.data.prepared_images import prepared_image_data

_URL = "https://www.cs.toronto.edu/~kriz/cifar.html"


def load_cifar10(data_path: str | os.PathLike[str] | None = None) -> ImageData:
    """CIFAR-10 in file order: 50 000 and 10 000 images of 32 x 32 x 3 in 10 classes.

    The constants of the normalisation are CIFAR-10's channel means and deviations in the order blue, green, red, yet
    they are applied to red, green, blue. This is kept on purpose: the authors' pretrained ResNet-56 was trained so
    (with the constants reversed it loses one percent), and a network trained anew does not mind.

    Args:
        data_path: Folder that holds `cifar10/`; `None` for the default of TensorFlow Datasets.

    Returns:
        The data set.

    Raises:
        DataUnavailableError: The data is absent and cannot be downloaded, or is damaged.

    Reference:
        Lee & Song, EKG (ECCV 2022), the authors' `dataloader/CIFAR.py`.
    """
    return _load("CIFAR10", 10, (113.9, 123.0, 125.3), (66.7, 62.1, 63.0), data_path)


def load_cifar100(data_path: str | os.PathLike[str] | None = None) -> ImageData:
    """CIFAR-100 in file order: like `load_cifar10`, with 100 classes and constants of its own (reversed likewise)."""
    return _load("CIFAR100", 100, (112.0, 124.0, 129.0), (70.0, 65.0, 68.0), data_path)


def _load(
    name: str,
    num_classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    data_path: str | os.PathLike[str] | None,
) -> ImageData:
    return prepared_image_data(
        name,
        data_path,
        _URL,
        shape=(32, 32, 3),
        num_classes=num_classes,
        mean=mean,
        std=std,
        flip=True,
        crop_padding=4,
    )
