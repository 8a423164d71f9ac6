"""Images in TFRecord files of TensorFlow Datasets, read as they are needed.

`tfds_images` opens a prepared data set for classification.
"""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError, DataUnavailableError
from tfprune.reading import shown
from tfprune.recipes.data.decoding import EncodedImages
from tfprune.recipes.data.record_files import RecordFiles
from tfprune.recipes.data.tfds import opened_dataset, split_records


class TFDSImages(EncodedImages):
    """One split of a data set in TensorFlow Datasets' TFRecord files, in file order.

    Args:
        records: The files.
        image: Name of the feature with the encoded image.
        label: Name of the feature with the label.
        num_classes: Number of classes; an image with another label cannot be read.
    """

    def __init__(self, records: RecordFiles, image: str, label: str, num_classes: int) -> None:
        self._records = records
        self._image, self._label, self._num_classes = image, label, num_classes

    def __len__(self) -> int:
        return len(self._records)

    def labels(self, positions: np.ndarray) -> np.ndarray:
        """Returns labels of images; reads their records."""
        feature = {self._label: tf.io.FixedLenFeature([], tf.int64)}
        records = [self._records.read(each) for each in positions]
        try:
            return self._class_numbers(tf.io.parse_example(records, feature)[self._label]).numpy()
        except (tf.errors.OpError, UnicodeDecodeError) as error:  # the message may have bytes of the record
            raise DataUnavailableError(
                f"expected records with a label {shown(self._label)} from 0 to {self._num_classes - 1}, received "
                f"others among {len(records)}, of which the first is {self.describe(int(positions[0]))}; prepare the "
                "data again"
            ) from error

    def read(self, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads the image and the label of a record."""
        record = tf.numpy_function(self._records.read, [position], tf.string, stateful=False)
        features = {
            self._image: tf.io.FixedLenFeature([], tf.string),
            self._label: tf.io.FixedLenFeature([], tf.int64),
        }
        example = tf.io.parse_single_example(tf.ensure_shape(record, []), features)
        return example[self._image], self._class_numbers(example[self._label])

    def describe(self, position: int) -> str:
        """Returns file and number of a record."""
        return self._records.describe(position)

    def _class_numbers(self, labels: tf.Tensor) -> tf.Tensor:
        """Returns labels if each is the number of a class."""
        known = tf.reduce_all((labels >= 0) & (labels < self._num_classes))
        with tf.control_dependencies([tf.debugging.Assert(known, ["a label of no class"])]):
            return tf.identity(labels)


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
    train, test = (TFDSImages(_records(builder, split), image, label, classes) for split in ("train", second))
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
    num_classes = features[label].num_classes
    if not num_classes or num_classes < 1:
        raise ConfigError(f"expected classes of {builder.name}, found {num_classes}; prepare the data again")
    return image, label, num_classes


def _records(builder: Any, split: str) -> RecordFiles:
    """Opens the files of a split and checks the number of records."""
    info = builder.info
    if info.file_format is None or info.file_format.value != "tfrecord":
        raise ConfigError(
            f"expected {builder.name} in TFRecord files, found {info.file_format}; prepare it in that format"
        )
    records = split_records(builder, split)
    if not len(records):
        raise DataUnavailableError(f"{builder.name} in {builder.data_dir} contains no images in {split}")
    return records
