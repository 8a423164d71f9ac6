"""Data sets by name.

`load_data` loads a small data set into memory: CIFAR-10, CIFAR-100, MNIST, digits or Tiny-ImageNet. `open_data` opens
ImageNet, or a data set like it, on disk. `register_data` adds a data set of your own, which `--dataset` can name then.
"""

import os
from collections.abc import Callable

import numpy as np

from tfprune.arguments import text
from tfprune.errors import ConfigError, DataUnavailableError
from tfprune.files import as_path
from tfprune.recipes.data.decoding import EncodedImages
from tfprune.recipes.data.folders import folder_images, load_tiny_imagenet
from tfprune.recipes.data.in_memory import ImageData
from tfprune.recipes.data.streamed import MEAN, STD, StreamedData
from tfprune.recipes.data.tfds import prepared_image_data
from tfprune.recipes.data.tfds_records import tfds_images
from tfprune.reprs import described, short

_Path = str | os.PathLike[str] | None
_PARTS = ("train", "val")
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar.html"
_MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz"
# of the training images on the scale 0 .. 1, as they are usually rounded
_MEAN, _STD = 0.1307, 0.3081
_TEST_IMAGES = 360
_SPLIT_SEED = 0


def load_cifar10(data_path: str | os.PathLike[str] | None = None) -> ImageData:
    """Loads CIFAR-10 in file order: 50 000 and 10 000 images of 32 x 32 x 3 in 10 classes.

    The constants of the normalization are the channel means and deviations of CIFAR-10 in the order blue, green, red,
    but they are applied to red, green, blue. This is intended: the pretrained ResNet-56 of the authors was trained like
    this (with the right order it loses one percent), and for a new training it makes no difference.

    Args:
        data_path: Folder that contains `cifar10/`; `None` for the default of TensorFlow Datasets.

    Returns:
        The data set.

    Raises:
        DataUnavailableError: The data is absent and cannot be downloaded, or is damaged.

    Reference:
        Lee & Song, EKG (ECCV 2022), the authors' `dataloader/CIFAR.py`.
    """
    return _load_cifar("CIFAR10", 10, (113.9, 123.0, 125.3), (66.7, 62.1, 63.0), data_path)


def load_cifar100(data_path: str | os.PathLike[str] | None = None) -> ImageData:
    """Loads CIFAR-100 in file order: like CIFAR-10, with 100 classes and its own constants (also reversed).

    Args:
        data_path: Folder that contains `cifar100/`; `None` for the default of TensorFlow Datasets.

    Returns:
        The data set.

    Raises:
        DataUnavailableError: The data is absent and cannot be downloaded, or is damaged.
    """
    return _load_cifar("CIFAR100", 100, (112.0, 124.0, 129.0), (70.0, 65.0, 68.0), data_path)


def _load_cifar(
    name: str,
    num_classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    data_path: str | os.PathLike[str] | None,
) -> ImageData:
    """Loads CIFAR-10 or CIFAR-100."""
    return prepared_image_data(
        name,
        data_path,
        _CIFAR_URL,
        shape=(32, 32, 3),
        num_classes=num_classes,
        mean=mean,
        std=std,
        flip=True,
        crop_padding=4,
    )


def load_mnist(data_path: str | os.PathLike[str] | None = None) -> ImageData:
    """Loads MNIST in file order: 60 000 and 10 000 images of 28 x 28 x 1 in 10 classes, neither flipped nor cropped.

    Args:
        data_path: Folder that contains `mnist/`; `None` for the default of TensorFlow Datasets.

    Returns:
        The data set.

    Raises:
        DataUnavailableError: The data is absent and cannot be downloaded, or is damaged.

    Reference:
        LeCun et al., "Gradient-based learning applied to document recognition" (1998).
    """
    return prepared_image_data(
        "MNIST",
        data_path,
        _MNIST_URL,
        shape=(28, 28, 1),
        num_classes=10,
        mean=(255 * _MEAN,),
        std=(255 * _STD,),
        flip=False,
        crop_padding=0,
    )


def load_digits() -> ImageData:
    """Loads the 1797 digits of scikit-learn, 1437 training and 360 test images of 8 x 8 x 1 in 10 classes.

    The split is stratified and always the same (`train_test_split` of scikit-learn with `random_state=0`); both parts
    are in file order. Gray values 0 .. 16 are scaled to 0 .. 255. Digits are not mirrored, and moved by one pixel at
    most.

    Returns:
        The data set; its mean and standard deviation are those of the training images.

    Reference:
        E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI (1998).
    """
    from sklearn.datasets import load_digits as bundled
    from sklearn.model_selection import train_test_split

    file = bundled()
    images = np.round(file.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = file.target.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=_TEST_IMAGES, stratify=labels, random_state=_SPLIT_SEED
    )
    train, test = np.sort(train), np.sort(test)
    return ImageData(
        name="digits",
        num_classes=10,
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        mean=(float(images[train].mean()),),
        std=(float(images[train].std()),),
        flip=False,
        crop_padding=1,
    )


_SOURCES: dict[str, Callable[[_Path], ImageData]] = {
    "CIFAR10": load_cifar10,
    "CIFAR100": load_cifar100,
    "digits": lambda data_path: load_digits(),
    "tiny-imagenet": load_tiny_imagenet,
    "MNIST": load_mnist,
}


def register_data(name: str, load: Callable[[_Path], ImageData]) -> None:
    """Adds a data set to those that `load_data` and `--dataset` know; a program imports its module by `--plugin`.

    Args:
        name: The name; case does not matter.
        load: Loads it, given the folder that `--data_path` names, or None.

    Raises:
        ConfigError: There is a data set of this name.
    """
    if not callable(load):
        raise ConfigError(f"load: expected a function that loads the data set, received {described(load)}")
    if text("name", name).casefold() in map(str.casefold, _SOURCES):
        raise ConfigError(f"data set {name!r}: expected a new name, there is one of this name; choose another")
    _SOURCES[name] = load


def data_names() -> tuple[str, ...]:
    """Returns the names of the data sets that `load_data` loads."""
    return tuple(_SOURCES)


def load_data(name: str, data_path: _Path = None) -> ImageData:
    """Loads a data set into memory.

    Args:
        name: One of `data_names()`; case does not matter.
        data_path: Folder of the prepared data of TensorFlow Datasets; `None` for its default. For `tiny-imagenet`, the
            folder that contains `train` and `val`; `digits` needs no files.

    Returns:
        The data set, images and labels in file order.

    Raises:
        ConfigError: The name is unknown.
        DataUnavailableError: The data is not on disk and cannot be downloaded.

    Example:
        >>> load_data("digits").train_images.shape
        (1437, 8, 8, 1)
    """
    if data_path is not None:
        as_path(data_path)
    for known, source in _SOURCES.items():
        if known.casefold() == text("name", name).casefold():
            return source(data_path)
    raise ConfigError(f"expected a data set of {', '.join(_SOURCES)}, received {short(name)}; use one of these names")


def open_data(
    path: str | os.PathLike[str],
    name: str = "imagenet2012",
    *,
    image_size: int = 224,
    resize_size: int = 256,
    mean: tuple[float, ...] = MEAN,
    std: tuple[float, ...] = STD,
) -> StreamedData:
    """Opens ImageNet, or a data set like it; its images are read as they are needed.

    Args:
        path: A folder with images `train/CLASS/*.JPEG` and `val/CLASS/*.JPEG` (or `.jpg`, `.png`); or the `data_dir` of
            TensorFlow Datasets that contains the prepared data set.
        name: Name of the data set in TensorFlow Datasets. A folder of images is named after the folder.
        image_size: Pixels of each side of an image in a batch.
        resize_size: Pixels of the shorter side of a test image, whose center is used.
        mean: Subtracted per channel, on the scale 0 .. 1.
        std: Divided by per channel, after the mean.

    Returns:
        The data set.

    Raises:
        DataUnavailableError: There is no such data, or it is damaged.
        ConfigError: The classes of `train` and `val` differ, the data set has not one image and one class per example,
            or `image_size` is larger than `resize_size`.
    """
    path, name = as_path(path), str(as_path(text("name", name)))
    train: EncodedImages
    val: EncodedImages
    if any((path / part).is_dir() for part in _PARTS):
        train, val, classes = folder_images(path)
        name, num_classes = path.resolve().name, len(classes)
    elif not (path / name).is_dir():
        raise DataUnavailableError(
            f"no images in {path}; expected folders train/CLASS/*.JPEG and val/CLASS/*.JPEG, or {name}/ as TensorFlow "
            "Datasets prepares it"
        )
    else:
        train, val, num_classes = tfds_images(name, path)
    return StreamedData(
        name, num_classes, train, val, image_size=image_size, resize_size=resize_size, mean=mean, std=std
    )
