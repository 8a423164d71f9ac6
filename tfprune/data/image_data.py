"""A data set of images, whole in memory."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfprune.data.fixed_batches import fixed_batches
from tfprune.data.image_arrays import ImageArrays
from tfprune.data.image_dataset import ImageDataset
from tfprune.data.prune_set import prune_set
from tfprune.data.training_batches import training_batches


@dataclass(frozen=True, eq=False)
class ImageData(ImageArrays, ImageDataset):
    """The arrays of a data set (see `ImageArrays` for its arguments), and batches of them."""

    @property
    def train_examples(self) -> int:
        """Number of training images."""
        return len(self.train_labels)

    @property
    def test_examples(self) -> int:
        """Number of test images."""
        return len(self.test_labels)

    def training_batches(
        self,
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        start_step: int = 0,
        views: int = 1,
        color_jitter: bool = False,
        knowledge: np.ndarray | None = None,
    ) -> tf.data.Dataset:
        """See `training_batches`."""
        return training_batches(
            self,
            batch_size=batch_size,
            epochs=epochs,
            seed=seed,
            start_step=start_step,
            views=views,
            color_jitter=color_jitter,
            knowledge=knowledge,
        )

    def test_batches(self, batch_size: int) -> tf.data.Dataset:
        """All test images in file order."""
        return fixed_batches(self.test_images, self.test_labels, self, batch_size)

    def prune_images(self, count: int, *, balanced: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """See `prune_set`."""
        return prune_set(self, count, balanced=balanced, seed=seed)
