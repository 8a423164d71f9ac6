"""Small images that TensorFlow Datasets has prepared, whole in memory."""

import os
from typing import Any

import numpy as np

from tfprune.data.image_data import ImageData
from tfprune.data.prepared_dataset import damaged, prepared_dataset

_READ_BATCH = 1000


def prepared_image_data(
    name: str, data_path: str | os.PathLike[str] | None, url: str, *, shape: tuple[int, int, int], **settings: Any
) -> ImageData:
    """A data set of small images with splits `train` and `test`.

    Args:
        name: Of the data set; in lower case that of TensorFlow Datasets.
        data_path: Folder that holds it; `None` for the default of TensorFlow Datasets.
        url: Where it is fetched from, for messages.
        shape: `(height, width, channels)` of every image.
        **settings: The other fields of `ImageData`.

    Raises:
        DataUnavailableError: The data is absent and cannot be downloaded, or is damaged.
    """
    builder = prepared_dataset(name.lower(), data_path, url)
    train_images, train_labels = prepared_images(builder, "train", shape)
    test_images, test_labels = prepared_images(builder, "test", shape)
    return ImageData(
        name=name,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        **settings,
    )


def prepared_images(builder: Any, split: str, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """One split of small images as arrays, in file order.

    Args:
        builder: That of `prepared_dataset`; its examples have an `image` and a `label`.
        split: Name of the split.
        shape: `(height, width, channels)` of every image.

    Returns:
        Images, bytes, `[examples, height, width, channels]`, and labels, `[examples]`.

    Raises:
        DataUnavailableError: The data is damaged.
    """
    import tensorflow_datasets as tfds

    try:
        count = builder.info.splits[split].num_examples
        images = np.empty((count, *shape), np.uint8)
        labels = np.empty(count, np.int64)
        dataset = builder.as_dataset(
            split=split,
            shuffle_files=False,
            batch_size=_READ_BATCH,
            read_config=tfds.ReadConfig(interleave_cycle_length=1),
        )
        read = 0
        for batch in dataset.as_numpy_iterator():
            end = read + len(batch["label"])
            images[read:end], labels[read:end] = batch["image"], batch["label"]
            read = end
    except Exception as error:  # whatever damaged files make TensorFlow and TensorFlow Datasets raise
        raise damaged(builder.name, builder.data_dir, error) from error
    if read != count:
        raise damaged(builder.name, builder.data_dir, ValueError(f"{read} of {count} {split} images"))
    return images, labels
