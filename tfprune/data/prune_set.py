"""A few training images for criteria that prune before training."""

import numpy as np
import tensorflow as tf

from tfprune.data.augmented_batch import augmented_batch
from tfprune.data.image_arrays import ImageArrays
from tfprune.data.prune_positions import prune_positions


def prune_set(data: ImageArrays, count: int, *, balanced: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draws training images and augments each of them once, as for training.

    Args:
        data: The data set.
        count: How many images.
        balanced: Take equally many of each class, rather than any.
        seed: Seed of the choice and of the augmentation.

    Returns:
        Images `[count, height, width, channels]` float32, normalised, and labels `[count]` int64.

    Raises:
        ConfigError: There are not as many images, or not as many of a class.

    Reference:
        Chen et al., Peek-a-Boo (ICLR 2022), the authors' `main_cifar.py`: 100 images of any class, augmented.
    """
    positions = prune_positions(
        len(data.train_labels),
        data.num_classes,
        lambda some: data.train_labels[some],
        count,
        balanced=balanced,
        seed=seed,
    )
    draw = augmented_batch(data, batch_size=count, seed=seed)
    batch = draw(tf.constant(0, tf.int64), tf.constant(positions, tf.int64))[1]
    return batch["images"].numpy(), batch["labels"].numpy()
