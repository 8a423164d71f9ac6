"""A data set of images, whole in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfprune.data.fixed_batches import fixed_batches
from tfprune.data.image_arrays import ImageArrays
from tfprune.data.image_dataset import ImageDataset
from tfprune.data.knowledge import Knowledge
from tfprune.data.prune_set import prune_set
from tfprune.data.training_batches import training_batches
from tfprune.data.view import View


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
        view: View | None = None,
        color_jitter: bool = False,
        knowledge: Knowledge | None = None,
        rows: Sequence[int] | None = None,
    ) -> tf.data.Dataset:
        """See `training_batches`."""
        return training_batches(
            self,
            batch_size=batch_size,
            epochs=epochs,
            seed=seed,
            start_step=start_step,
            views=views,
            view=view,
            color_jitter=color_jitter,
            knowledge=knowledge,
            rows=rows,
        )

    def test_batches(self, batch_size: int) -> tf.data.Dataset:
        """All test images in file order."""
        return fixed_batches(self.test_images, self.test_labels, self, batch_size)

    def plain_batches(
        self,
        batch_size: int,
        positions: np.ndarray | None = None,
        *,
        start_step: int = 0,
        drop_remainder: bool = False,
    ) -> tf.data.Dataset:
        """Training images without augmentation, see `ImageDataset.plain_batches`."""
        chosen = slice(None) if positions is None else positions
        batches = fixed_batches(
            self.train_images[chosen], self.train_labels[chosen], self, batch_size, drop_remainder, start_step
        )
        all_places = np.arange(self.train_examples) if positions is None else np.asarray(positions, np.int64)
        places = tf.data.Dataset.from_tensor_slices(all_places[start_step * batch_size :])
        return tf.data.Dataset.zip(batches, places.batch(batch_size, drop_remainder)).map(
            lambda batch, some: batch | {"positions": some}
        )

    def train_labels_at(self, positions: np.ndarray) -> np.ndarray:
        """Labels of training images."""
        return self.train_labels[positions]

    def prune_images(self, count: int, *, balanced: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """See `prune_set`."""
        return prune_set(self, count, balanced=balanced, seed=seed)
