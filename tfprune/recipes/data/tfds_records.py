"""Images in TFRecord files of TensorFlow Datasets, read as they are needed.

`tfds_images` opens a prepared data set for classification. `RecordFiles` gives random access to TFRecord files, which
TFDS itself reads only in order.
"""

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError, DataUnavailableError
from tfprune.recipes.data.decoding import EncodedImages
from tfprune.recipes.data.tfds import damaged, opened_dataset

_HEADER = 12  # length, 8 bytes, and its checksum
_FOOTER = 4  # checksum of the data


class RecordFiles:
    """Random access to the records of TFRecord files, which contain no index.

    The index is built by reading the header of each record, 12 bytes.

    Args:
        paths: The files, in order.

    Raises:
        ValueError: A file ends within a record.
        OSError: A file cannot be read.

    Reference:
        https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details".
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        places = [_places(path) for path in paths]
        self._files = np.repeat(np.arange(len(paths)), [len(each) for each in places])
        self._places = np.concatenate(places) if places else np.empty((0, 2), np.int64)

    def __len__(self) -> int:
        return len(self._files)

    def read(self, position: int) -> bytes:
        """Reads the data of a record; several threads may read at the same time."""
        file = os.open(self._paths[self._files[position]], os.O_RDONLY)
        try:
            offset, length = self._places[position].tolist()
            return os.pread(file, length, offset)
        finally:
            os.close(file)

    def describe(self, position: int) -> str:
        """Returns file and number of a record, for messages."""
        file = self._files[position]
        return f"record {position - int(np.searchsorted(self._files, file))} of {self._paths[file]}"


def _places(path: str) -> np.ndarray:
    """Returns offset and length of the data of each record, `[records, 2]`."""
    places: list[tuple[int, int]] = []
    with open(path, "rb", buffering=0) as file:
        end, offset = os.fstat(file.fileno()).st_size, 0
        while offset < end:
            header = os.pread(file.fileno(), 8, offset)
            length = struct.unpack("<Q", header)[0] if len(header) == 8 else end
            if offset + _HEADER + length + _FOOTER > end:
                raise ValueError(f"{path} ends within record {len(places)}")
            places.append((offset + _HEADER, length))
            offset += _HEADER + length + _FOOTER
    return np.asarray(places, np.int64).reshape(-1, 2)


class TFDSImages(EncodedImages):
    """One split of a data set in TensorFlow Datasets' TFRecord files, in file order.

    Args:
        records: The files.
        image: Name of the feature with the encoded image.
        label: Name of the feature with the label.
    """

    def __init__(self, records: RecordFiles, image: str, label: str) -> None:
        self._records = records
        self._image, self._label = image, label

    def __len__(self) -> int:
        return len(self._records)

    def labels(self, positions: np.ndarray) -> np.ndarray:
        """Returns labels of images; reads their records."""
        feature = {self._label: tf.io.FixedLenFeature([], tf.int64)}
        return tf.io.parse_example([self._records.read(each) for each in positions], feature)[self._label].numpy()

    def read(self, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads the image and the label of a record."""
        record = tf.numpy_function(self._records.read, [position], tf.string, stateful=False)
        features = {
            self._image: tf.io.FixedLenFeature([], tf.string),
            self._label: tf.io.FixedLenFeature([], tf.int64),
        }
        example = tf.io.parse_single_example(tf.ensure_shape(record, []), features)
        return example[self._image], example[self._label]

    def describe(self, position: int) -> str:
        """Returns file and number of a record."""
        return self._records.describe(position)


def tfds_images(name: str, data_path: str | os.PathLike[str] | None) -> tuple[TFDSImages, TFDSImages, int]:
    """Opens a prepared data set for classification, without downloading anything.

    Args:
        name: Name in TensorFlow Datasets, such as `imagenet2012` or `imagenet_resized/64x64`.
        data_path: Its `data_dir`; `None` for the default of TensorFlow Datasets.

    Returns:
        The images of the split `train`, those of `validation` (or of `test`, if there is none), and the number of
        classes.

    Raises:
        DataUnavailableError: The data are absent or damaged.
        ConfigError: The data are not one image and one class per example in TFRecord files.
    """
    builder = opened_dataset(name, data_path)
    image, label, classes = _features(builder)
    second = next((split for split in ("validation", "test") if split in builder.info.splits), None)
    if second is None or "train" not in builder.info.splits:
        raise ConfigError(f"expected splits train and validation or test of {name}, found {list(builder.info.splits)}")
    train, test = (TFDSImages(_records(builder, split), image, label) for split in ("train", second))
    return train, test, classes


def _features(builder: Any) -> tuple[str, str, int]:
    """Returns the names of the features of image and label, and the number of classes."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    keys = tuple(builder.info.supervised_keys or ())
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if len(keys) != 2 or not all(isinstance(features[key], kind) for key, kind in zip(keys, kinds, strict=True)):
        raise ConfigError(
            f"expected one image and one class per example in {builder.name}, found {sorted(features)}; use a data set "
            "for classification of images"
        )
    image, label = keys
    return image, label, features[label].num_classes


def _records(builder: Any, split: str) -> RecordFiles:
    """Opens the files of a split and checks the number of records."""
    info = builder.info
    if info.file_format is None or info.file_format.value != "tfrecord":
        raise ConfigError(
            f"expected {builder.name} in TFRecord files, found {info.file_format}; prepare it in that format"
        )
    expected = info.splits[split].num_examples
    try:
        records = RecordFiles([str(Path(path)) for path in info.splits[split].filepaths])
    except (OSError, ValueError) as error:
        raise damaged(builder.name, builder.data_dir, error) from error
    if len(records) != expected:
        raise damaged(builder.name, builder.data_dir, ValueError(f"{len(records)} of {expected} records of {split}"))
    if not expected:
        raise DataUnavailableError(f"{builder.name} in {builder.data_dir} contains no images in {split}")
    return records
