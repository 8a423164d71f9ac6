"""Opening data sets that are too large for the memory."""

import os
from pathlib import Path

from tfprune.data.encoded_images import EncodedImages
from tfprune.data.folder_images import folder_images
from tfprune.data.streamed_data import MEAN, STD, StreamedData
from tfprune.data.tfds_images import tfds_images
from tfprune.errors import DataUnavailableError

_PARTS = ("train", "val")


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
            TensorFlow Datasets, in which it has prepared the data set.
        name: Name of the data set in TensorFlow Datasets. Folders of images go by the name of their folder.
        image_size: Pixels of each side of an image in a batch.
        resize_size: Pixels of the shorter side of a test image, of which the middle is taken.
        mean: Subtracted per channel, on the scale 0 .. 1.
        std: Divided by per channel, after the mean.

    Returns:
        The data set.

    Raises:
        DataUnavailableError: There is no such data, or it is damaged.
        ConfigError: The classes of `train` and `val` differ, the data set is not one of images with a class each, or
            the sizes contradict each other.
    """
    path = Path(path)
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
