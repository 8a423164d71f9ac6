"""What methods need of a data set of images, wherever it lies."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError


class View(ABC):
    """Changes images.

    What it draws for an image follows from that image's seed alone, so an image looks the same in the whole batch, in
    the share of one of several workers, and by itself.
    """

    @abstractmethod
    def __call__(self, images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Changes each image by draws of its own.

        Args:
            images: `[images, height, width, channels]`, float32 on the scale 0 .. 255.
            seeds: `[images, 2]`, int32.

        Returns:
            Images of the same shape and type, on the same scale.
        """


class Knowledge(Protocol):
    """Rows `[train, classes, teachers]` that belong to the training images: an array or `ShardedRows`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(train, classes, teachers)`."""

    def __getitem__(self, positions: np.ndarray, /) -> np.ndarray:
        """The rows `[batch, classes, teachers]` of images at positions `[batch]`."""


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


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Images and labels in file order, and how they are normalised and augmented.

    Args:
        name: Name of the data set, as `data_names()` lists it.
        num_classes: Number of classes; labels lie in `0 .. num_classes - 1`.
        train_images: `[train, height, width, channels]`, uint8.
        train_labels: `[train]`, int64.
        test_images: `[test, height, width, channels]`, uint8.
        test_labels: `[test]`, int64.
        mean: Subtracted per channel, on the scale 0 .. 255.
        std: Divided by per channel, after the mean.
        flip: Whether a mirrored image is still an image of its class.
        crop_padding: Pixels by which training images are padded (by reflection) before a crop of their own size.
    """

    name: str
    num_classes: int
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    crop_padding: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)` of one image."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """Images as a network sees them.

        Args:
            images: `[..., height, width, channels]`, on the scale 0 .. 255.

        Returns:
            `(images - mean) / std`, float32 of the same shape.
        """
        return (images.astype(np.float32) - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)

    def normalize_tensor(self, images: tf.Tensor) -> tf.Tensor:
        """The same as `normalize`, on a tensor of any number type."""
        return (tf.cast(images, tf.float32) - tf.constant(self.mean)) / tf.constant(self.std)


def view_seeds(seed: int, step: tf.Tensor, batch_size: int, views: int) -> tf.Tensor:
    """Seeds of the views of a batch.

    Args:
        seed: That of the training.
        step: Step of the batch, counted over all epochs.
        batch_size: Images of the whole batch.
        views: As for `shown_views`.

    Returns:
        `[batch_size, changed views, 2]`, int32.
    """
    key = tf.random.fold_in(tf.constant([seed, 2], tf.int64), step)
    return tf.random.stateless_uniform([batch_size, max(views - 1, 1), 2], key, None, None, tf.int32)


def shown_views(view: View, images: tf.Tensor, seeds: tf.Tensor, views: int) -> tf.Tensor:
    """What is shown of each image.

    Args:
        view: What changes it.
        images: `[images, height, width, channels]`, float32 on the scale 0 .. 255.
        seeds: `[images, changed views, 2]`, of `view_seeds`.
        views: 1 for the changed image; with more, the image itself comes first and `views - 1` changed ones after it.

    Returns:
        `[images, views, height, width, channels]`, float32 on the same scale.
    """
    changed = seeds.shape[1]
    several = view(tf.repeat(images, changed, 0), tf.reshape(seeds, [-1, 2]))
    several = tf.reshape(several, [-1, changed, *images.shape[1:]])
    return several if views == 1 else tf.concat([images[:, None], several], 1)


def check_batch_size(batch_size: int, examples: int) -> None:
    """Raises a `ConfigError` unless a batch can be filled."""
    if not 1 <= batch_size <= examples:
        raise ConfigError(f"expected a batch size from 1 to the {examples} training images, received {batch_size}")


def check_steps(examples: int, *, batch_size: int, epochs: int, views: int, start_step: int) -> None:
    """Raises a `ConfigError` unless a training can consist of these steps and begin at this one."""
    check_batch_size(batch_size, examples)
    if epochs < 0 or views < 1:
        raise ConfigError(f"expected epochs >= 0 and views >= 1, received {epochs} and {views}")
    if not 0 <= start_step <= epochs * (examples // batch_size):
        raise ConfigError(
            f"expected a start step from 0 to the {epochs * (examples // batch_size)} steps of {epochs} epochs, "
            f"received {start_step}"
        )


def check_rows(rows: Sequence[int] | None, batch_size: int) -> None:
    """Raises a `ConfigError` unless these places lie within a batch."""
    if rows is not None and not (rows and all(0 <= row < batch_size for row in rows)):
        raise ConfigError(f"expected rows of a batch, 0 to {batch_size - 1}, at least one, received {list(rows)}")
