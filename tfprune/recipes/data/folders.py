"""Images in folders, one folder per class.

`folder_images` finds the images of an ImageNet-like tree, which are read as they are needed; `load_tiny_imagenet` loads
the small images of Tiny-ImageNet into memory.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError, DataUnavailableError
from tfprune.reading import RefusedError, read_text, reading, shown
from tfprune.recipes.data.decoding import EncodedImages
from tfprune.recipes.data.image_files import read_image, within
from tfprune.recipes.data.in_memory import ImageData
from tfprune.tables import listed

_SUFFIXES = (".jpeg", ".jpg", ".png")
_LAYOUT = "train/CLASS/*.JPEG and val/CLASS/*.JPEG (or .jpg, .png)"
_SIZE = 64
_MEAN = (0.48024578664982126, 0.44807218089384643, 0.3975477478649648)
_STD = (0.2769864069088257, 0.26906448510256, 0.282081906210584)
_TINY_LAYOUT = "train/CLASS/images/*.JPEG, val/images/*.JPEG and val/val_annotations.txt"
_AGAIN = "download the data again"
_FOLDERS = ("tiny-imagenet-200", "tiny_imagenet")


class FolderImages(EncodedImages):
    """The images of `train/` or `val/`, sorted by class and name.

    Args:
        paths: Paths of the images.
        labels: `[images]`, int64.
    """

    def __init__(self, paths: Sequence[str], labels: np.ndarray) -> None:
        self._paths = paths
        self._labels = labels

    def __len__(self) -> int:
        return len(self._paths)

    def labels(self, positions: np.ndarray) -> np.ndarray:
        """Returns the labels of images."""
        return self._labels[positions]

    def read(self, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads the bytes of a file and its class."""
        contents, label = tf.numpy_function(self._read, [position], (tf.string, tf.int64), stateful=False)
        return tf.ensure_shape(contents, []), tf.ensure_shape(label, [])

    def describe(self, position: int) -> str:
        """Returns the path of a file."""
        return self._paths[position]

    def _read(self, position: int) -> tuple[bytes, np.int64]:
        return read_image(self._paths[position]), self._labels[position]


def folder_images(root: str | os.PathLike[str]) -> tuple[FolderImages, FolderImages, tuple[str, ...]]:
    """Finds the images of a tree `train/CLASS/*.JPEG`, `val/CLASS/*.JPEG`, including `.jpg` and `.png` files.

    Classes are numbered in the alphabetical order of their folders.

    Args:
        root: The folder that contains `train` and `val`.

    Returns:
        The training images, the test images, and the names of the classes.

    Raises:
        DataUnavailableError: A folder is missing or contains no images.
        ConfigError: `train` and `val` do not have the same classes.
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
    """Returns the sorted paths of the images of each class, classes in alphabetical order."""
    with _listing(folder, _LAYOUT) as found:
        names = [entry.name for entry in found if entry.is_dir() and not entry.name.startswith(".")]
    if not names:
        loose = any(_is_image(entry.name) for entry in found)
        what = "images without folders of classes; sort them into such folders" if loose else "no images"
        raise DataUnavailableError(f"{folder} holds {what}; expected {_LAYOUT}")
    classes = {name: _files(folder / name, _LAYOUT) for name in names}
    if empty := [name for name, paths in classes.items() if not paths]:
        raise DataUnavailableError(
            f"no images in {_named(empty)} of {folder}; expected {_LAYOUT}, at least one for each class"
        )
    return classes


def _files(folder: Path, layout: str, suffixes: tuple[str, ...] = _SUFFIXES) -> list[str]:
    """Returns the sorted paths of the images in a folder; pipes and devices, which may never end, are none."""
    with _listing(folder, layout) as found:
        return [entry.path for entry in found if _is_image(entry.name, suffixes) and entry.is_file()]


@contextmanager
def _listing(folder: Path, layout: str) -> Iterator[list[os.DirEntry[str]]]:
    """Gives what is in a folder, sorted by name; if it, or something in it, cannot be read, raises an error."""
    try:
        with os.scandir(folder) as entries:
            yield sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        place = error.filename or folder
        raise DataUnavailableError(f"cannot read {place}: {error.strerror}; expected {layout}") from error


def _is_image(name: str, suffixes: tuple[str, ...] = _SUFFIXES) -> bool:
    return name.lower().endswith(suffixes) and not name.startswith(".")


def _images(classes: dict[str, list[str]]) -> FolderImages:
    """Numbers the classes and joins their images."""
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(paths) for paths in classes.values()])
    return FolderImages([path for paths in classes.values() for path in paths], labels)


def _named(classes: Sequence[str]) -> str:
    """Returns the names of classes for a message, at most three of them."""
    return f"{'class' if len(classes) == 1 else 'classes'} {listed(classes)}"


def load_tiny_imagenet(data_path: str | os.PathLike[str] | None = None) -> ImageData:
    """Loads Tiny-ImageNet: 100 000 training images of 64 x 64 in 200 classes; its validation images are test images.

    Classes are numbered in the alphabetical order of their folders. Validation images are either as they are
    distributed, with their classes in `val_annotations.txt`, or sorted into `val/CLASS/images`. Some classes may be
    absent: the number of classes is that of the folders.

    Args:
        data_path: The folder that contains `train` and `val`, or the parent of such a folder named `tiny-imagenet-200`
            or `tiny_imagenet`.

    Returns:
        The data set, in the order of classes and file names.

    Raises:
        DataUnavailableError: Folders or files are missing, cannot be read, or contradict each other.

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020): normalization and padding of the authors' code.
    """
    root = _root(data_path)
    with _listing(root / "train", _TINY_LAYOUT) as found:
        classes = [entry.name for entry in found if entry.is_dir()]
    train = [(path, label) for label, name in enumerate(classes) for path in _tiny_images(root / "train" / name)]
    if not train:
        raise DataUnavailableError(f"no images in {root / 'train'}; expected {_TINY_LAYOUT}")
    test = _validation(root / "val", classes)
    train_images, test_images = (_read([path for path, _ in part]) for part in (train, test))
    train_labels, test_labels = (np.array([label for _, label in part], np.int64) for part in (train, test))
    mean, std = (tuple(255 * value for value in values) for values in (_MEAN, _STD))
    return ImageData(
        name="tiny-imagenet",
        num_classes=len(classes),
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        mean=mean,
        std=std,
        flip=True,
        crop_padding=4,
    )


def _root(data_path: str | os.PathLike[str] | None) -> Path:
    """Returns the folder with `train` and `val`."""
    if data_path is None:
        raise DataUnavailableError(
            f"Tiny-ImageNet is not downloaded automatically; add --data_path, the folder that contains {_TINY_LAYOUT}"
        )
    for folder in (Path(data_path), *(Path(data_path) / name for name in _FOLDERS)):
        if (folder / "train").is_dir() and (folder / "val").is_dir():
            return folder
    raise DataUnavailableError(f"no Tiny-ImageNet in {data_path}; expected {_TINY_LAYOUT} there")


def _tiny_images(folder: Path) -> list[str]:
    """Returns the images of a class, in the folder itself or in its folder `images`."""
    inner = folder / "images"
    return _files(inner if inner.is_dir() else folder, _TINY_LAYOUT, (".jpeg",))


def _validation(folder: Path, classes: Sequence[str]) -> list[tuple[str, int]]:
    """Returns validation images with their classes, in either layout."""
    numbers = {name: number for number, name in enumerate(classes)}
    annotations = folder / "val_annotations.txt"
    if any((folder / name).is_dir() for name in classes):
        found = [
            (path, number)
            for name, number in numbers.items()
            if (folder / name).is_dir()
            for path in _tiny_images(folder / name)
        ]
    elif annotations.is_file():
        found = _annotated(annotations, folder / "images", numbers)
    else:
        raise DataUnavailableError(
            f"no labels of the images in {folder}; expected {annotations.name} there, or folders of classes"
        )
    if not found:
        raise DataUnavailableError(f"no images in {folder}; expected {_TINY_LAYOUT}")
    return sorted(found, key=lambda pair: (pair[1], os.path.basename(pair[0])))


def _annotated(annotations: Path, folder: Path, numbers: dict[str, int]) -> list[tuple[str, int]]:
    """Returns the images that `val_annotations.txt` names, each once, and their classes."""
    with reading(annotations, "lines of an image and its class", error=DataUnavailableError):
        lines = read_text(annotations).splitlines()
    paths = {os.path.basename(path): path for path in _files(folder, _TINY_LAYOUT)}
    found = []
    for line in lines:
        words = line.split("\t", 2)
        if len(words) < 2 or words[1] not in numbers:
            raise DataUnavailableError(
                f"{annotations}: expected lines of an image, a tab and a class that train has, found {line[:60]!r}"
            )
        if words[0] not in paths:
            raise DataUnavailableError(
                f"{annotations} names {shown(words[0])}, which is no image in {folder}, or twice; {_AGAIN}"
            )
        found.append((paths.pop(words[0]), numbers[words[1]]))
    return found


def _read(paths: Sequence[str]) -> np.ndarray:
    """Reads all images, `[images, 64, 64, 3]` uint8; gray ones get three equal channels."""
    images = np.empty((len(paths), _SIZE, _SIZE, 3), np.uint8)
    for place, path in enumerate(paths):
        with reading(path, f"a JPEG image of {_SIZE} x {_SIZE}", error=DataUnavailableError, advice=_AGAIN):
            try:
                image = _decoded(read_image(path)).numpy()
            except tf.errors.OpError as error:
                raise RefusedError("it is damaged, larger or no image") from error
            if image.shape != images.shape[1:]:
                raise RefusedError("it has {} x {}".format(*image.shape))
        images[place] = image
    return images


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def _decoded(contents: tf.Tensor) -> tf.Tensor:
    """Decodes an image of no more pixels than those of Tiny-ImageNet."""
    return tf.io.decode_jpeg(within(contents, _SIZE * _SIZE), channels=3)
