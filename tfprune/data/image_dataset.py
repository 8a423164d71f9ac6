"""What methods need of a data set of images, wherever it lies."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfprune.data.knowledge import Knowledge
from tfprune.data.step_checks import check_batch_size
from tfprune.data.view import View


class ImageDataset(ABC):
    """Labelled images to train on and to test with, given out in batches.

    `ImageData` holds them in memory, `StreamedData` reads them from the disk as they are needed. Images are
    normalised; batches are dicts of `images` `[batch, height, width, channels]` float32 and `labels` `[batch]` int64.

    Attributes:
        name: Of the data set.
        num_classes: Number of classes; labels lie in `0 .. num_classes - 1`.
    """

    name: str
    num_classes: int

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)` of the images in a batch."""

    @property
    @abstractmethod
    def train_examples(self) -> int:
        """Number of training images."""

    @property
    @abstractmethod
    def test_examples(self) -> int:
        """Number of test images."""

    @abstractmethod
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
        """Shuffled, augmented batches, each a pure function of the seed and its step; see `training_batches`."""

    @abstractmethod
    def test_batches(self, batch_size: int) -> tf.data.Dataset:
        """All test images in file order, without augmentation; the last batch may be shorter."""

    @abstractmethod
    def plain_batches(
        self,
        batch_size: int,
        positions: np.ndarray | None = None,
        *,
        start_step: int = 0,
        drop_remainder: bool = False,
    ) -> tf.data.Dataset:
        """Training images as test images are shown: in a given order, without augmentation.

        Args:
            batch_size: Images per batch; those that cannot be read are left out of theirs.
            positions: `[images]`, int64, which ones in which order. Default: all in file order.
            start_step: Batch to begin with.
            drop_remainder: Whether to leave out a last batch of fewer positions.

        Returns:
            Batches that also hold `positions`, int64, of their images.
        """

    @abstractmethod
    def train_labels_at(self, positions: np.ndarray) -> np.ndarray:
        """Labels of training images, `[images]`, int64."""

    @abstractmethod
    def prune_images(self, count: int, *, balanced: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """A few training images, augmented as in training; see `prune_set`."""

    def notes(self) -> tuple[str, ...]:
        """What a user should be told after the data were used, such as how many images could not be read."""
        return ()

    def steps_per_epoch(self, batch_size: int) -> int:
        """Training batches of an epoch; the remainder that fills no batch is left out.

        Raises:
            ConfigError: There are not even images for one.
        """
        check_batch_size(batch_size, self.train_examples)
        return self.train_examples // batch_size
