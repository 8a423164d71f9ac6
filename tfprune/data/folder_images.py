"""Images in a tree of folders, one folder for each class."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfprune.data.encoded_images import EncodedImages
from tfprune.errors import ConfigError, DataUnavailableError

_SUFFIXES = (".jpeg", ".jpg", ".png")
_LAYOUT = "train/CLASS/*.JPEG and val/CLASS/*.JPEG (or .jpg, .png)"


class FolderImages(EncodedImages):
    """The images of `train/` or `val/`, sorted by class and name.

    Args:
        paths: Of the images.
        labels: `[images]`, int64.
    """

    def __init__(self, paths: Sequence[str], labels: np.ndarray) -> None:
        self._paths = paths
        self._labels = labels
        with tf.device("CPU:0"):
            self._tensors = tf.constant(paths), tf.constant(labels, tf.int64)

    def __len__(self) -> int:
        return len(self._paths)

    def labels(self, positions: np.ndarray) -> np.ndarray:
        """Labels of images."""
        return self._labels[positions]

    def read(self, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The bytes of a file, and its class."""
        paths, labels = self._tensors
        return tf.io.read_file(paths[position]), labels[position]

    def describe(self, position: int) -> str:
        """The path of a file."""
        return self._paths[position]


def folder_images(root: str | os.PathLike[str]) -> tuple[FolderImages, FolderImages, tuple[str, ...]]:
    """Finds the images of a tree `train/CLASS/*.JPEG`, `val/CLASS/*.JPEG`; `.jpg` and `.png` files count, too.

    A class is numbered by the place of its folder's name in alphabetical order, as elsewhere.

    Args:
        root: The folder that holds `train` and `val`.

    Returns:
        The images to train on, those to test with, and the names of the classes.

    Raises:
        DataUnavailableError: A folder is missing or holds no images.
        ConfigError: `train` and `val` do not hold the same classes.
    """
    root = Path(root)
    train, val = (_classes(root / part) for part in ("train", "val"))
    for name, other, here, there in (("val", "train", val, train), ("train", "val", train, val)):
        if missing := sorted(there.keys() - here.keys()):
            raise ConfigError(
                f"expected the same classes in train and val of {root}: {_named(missing)} of {other} "
                f"{'is' if len(missing) == 1 else 'are'} missing in {name}; add {name}/{missing[0]}, or remove it "
                f"from {other}"
            )
    return _images(train), _images(val), tuple(train)


def _classes(folder: Path) -> dict[str, list[str]]:
    """From a class, in alphabetical order, to the sorted paths of its images."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataUnavailableError(f"cannot read {folder}: {error.strerror}; expected {_LAYOUT}") from error
    names = [entry.name for entry in found if entry.is_dir() and not entry.name.startswith(".")]
    if not names:
        loose = any(_is_image(entry.name) for entry in found)
        what = "images without folders of classes; sort them into these" if loose else "no images"
        raise DataUnavailableError(f"{folder} holds {what}; expected {_LAYOUT}")
    classes = {name: _files(folder / name) for name in names}
    if empty := [name for name, paths in classes.items() if not paths]:
        raise DataUnavailableError(
            f"no images in {_named(empty)} of {folder}; expected {_LAYOUT}, at least one for each class"
        )
    return classes


def _files(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if _is_image(entry.name))
    except OSError as error:
        raise DataUnavailableError(f"cannot read {folder}: {error.strerror}; make it readable") from error


def _is_image(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


def _images(classes: dict[str, list[str]]) -> FolderImages:
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(paths) for paths in classes.values()])
    return FolderImages([path for paths in classes.values() for path in paths], labels)


def _named(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:3]) + (f" and {len(classes) - 3} more" if len(classes) > 3 else "")
    return f"class {shown}" if len(classes) == 1 else f"classes {shown}"
