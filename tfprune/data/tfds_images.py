"""Images that TensorFlow Datasets has prepared, read as they are needed."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.data.encoded_images import EncodedImages
from tfprune.data.prepared_dataset import damaged, opened_dataset
from tfprune.data.record_files import RecordFiles
from tfprune.errors import ConfigError, DataUnavailableError


class TFDSImages(EncodedImages):
    """One split of a data set in TensorFlow Datasets' TFRecord files, in file order.

    Args:
        records: The files.
        image: Name of the feature that holds the encoded image.
        label: Name of the feature that holds the label.
    """

    def __init__(self, records: RecordFiles, image: str, label: str) -> None:
        self._records = records
        self._image, self._label = image, label

    def __len__(self) -> int:
        return len(self._records)

    def labels(self, positions: np.ndarray) -> np.ndarray:
        """Labels of images; reads their records."""
        feature = {self._label: tf.io.FixedLenFeature([], tf.int64)}
        return tf.io.parse_example([self._records.read(each) for each in positions], feature)[self._label].numpy()

    def read(self, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The image and the label of a record."""
        record = tf.numpy_function(self._records.read, [position], tf.string, stateful=False)
        features = {
            self._image: tf.io.FixedLenFeature([], tf.string),
            self._label: tf.io.FixedLenFeature([], tf.int64),
        }
        example = tf.io.parse_single_example(tf.ensure_shape(record, []), features)
        return example[self._image], example[self._label]

    def describe(self, position: int) -> str:
        """File and number of a record."""
        return self._records.describe(position)


def tfds_images(name: str, data_path: str | os.PathLike[str] | None) -> tuple[TFDSImages, TFDSImages, int]:
    """Opens a prepared data set for classification; nothing is downloaded.

    Args:
        name: Name in TensorFlow Datasets, such as `imagenet2012` or `imagenet_resized/64x64`.
        data_path: Folder that holds it (its `data_dir`); `None` for the default of TensorFlow Datasets.

    Returns:
        The images of the split `train`, those of `validation` (or, where there is none, of `test`), and the number of
        classes.

    Raises:
        DataUnavailableError: It is not there, or damaged.
        ConfigError: It does not consist of an image and a class per example, in TFRecord files.
    """
    builder = opened_dataset(name, data_path)
    image, label, classes = _features(builder)
    second = next((split for split in ("validation", "test") if split in builder.info.splits), None)
    if second is None or "train" not in builder.info.splits:
        raise ConfigError(f"expected splits train and validation or test of {name}, found {list(builder.info.splits)}")
    train, test = (TFDSImages(_records(builder, split), image, label) for split in ("train", second))
    return train, test, classes


def _features(builder: Any) -> tuple[str, str, int]:
    """Names of the features of image and label, and the number of classes."""
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
    info = builder.info
    if info.file_format is None or info.file_format.value != "tfrecord":
        raise ConfigError(f"expected {builder.name} in TFRecord files, found {info.file_format}; prepare it so")
    expected = info.splits[split].num_examples
    try:
        records = RecordFiles([str(Path(path)) for path in info.splits[split].filepaths])
    except (OSError, ValueError) as error:
        raise damaged(builder.name, builder.data_dir, error) from error
    if len(records) != expected:
        raise damaged(builder.name, builder.data_dir, ValueError(f"{len(records)} of {expected} records of {split}"))
    if not expected:
        raise DataUnavailableError(f"{builder.name} in {builder.data_dir} holds no images in {split}")
    return records
