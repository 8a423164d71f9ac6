"""The images that `test.py` tests with."""

from pathlib import Path
from typing import Any

from tfprune.errors import ConfigError
from tfprune.recipes.data import ImageDataset, data_names, load_data, open_data

_IMAGENET = ("imagenet", "imagenet2012")
_SHORTER_SIDE = 256 / 224  # of a test image, to the side of what is cut out of its middle


def evaluation_data(
    name: str,
    data_path: str | None,
    *,
    image_size: int,
    resize_size: int | None = None,
    **normalization: Any,
) -> ImageDataset:
    """Opens the data set that `--dataset` names.

    Args:
        name: A name of `data_names()`; `imagenet`; or that of a data set that TensorFlow Datasets has prepared.
        data_path: Where it is.
        image_size: Pixels of each side of an image, where images are read from the disk.
        resize_size: Pixels of the shorter side before the middle is taken. Default: 256 for 224, and so on.
        normalization: `mean` and `std` of images that are read from the disk.

    Raises:
        ConfigError: There is no such data set, or it cannot be used.
        DataUnavailableError: It is not there.
    """
    if name.casefold() in (known.casefold() for known in data_names()):
        return load_data(name, data_path)
    imagenet = name.casefold() in _IMAGENET
    if not imagenet and not (data_path is not None and (Path(data_path) / name).is_dir()):
        raise ConfigError(
            f"--dataset: expected one of {', '.join(data_names())}, imagenet, or a data set that TFDS has prepared in "
            f"--data_path; received {name!r}"
        )
    if data_path is None:
        raise ConfigError(
            f"--dataset {name} needs --data_path: a folder with images train/CLASS/*.JPEG and val/CLASS/*.JPEG, or the "
            "data_dir of TFDS"
        )
    side = round(image_size * _SHORTER_SIDE) if resize_size is None else resize_size
    return open_data(
        data_path, _IMAGENET[1] if imagenet else name, image_size=image_size, resize_size=side, **normalization
    )
