"""Data sets of encoded images that are read from files as they are needed.

`StreamedData` returns random crops of training images and the center of each test image. An image that cannot be read
is replaced by the next one of its training batch and counted (`notes`).
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError, DataUnavailableError
from tfprune.recipes.data.augmentation import DRAWS, Appearance, jitter_colors
from tfprune.recipes.data.dataset import Batch, BatchRequest, ImageDataset, Reader
from tfprune.recipes.data.decoding import BrokenImages, EncodedImages, decode_center, readable_images
from tfprune.recipes.data.views import shown_views, view_seeds

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_CHECKED_FIRST = 16
_Draws = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


class StreamedData(ImageDataset):
    """A data set on disk: random crops of training images, resized and mirrored, and the center of test images.

    An image that cannot be read is skipped. A training batch contains the next image of the batch (or of its requested
    rows) instead, so that it remains a function of seed and step; a test batch becomes shorter. `notes()` reports how
    many images were skipped.

    Args:
        name: Name of the data set.
        num_classes: Number of classes.
        train: The training images.
        test: The test images.
        image_size: Pixels of each side of an image in a batch.
        resize_size: Pixels of the shorter side of a test image, whose center is used.
        scale: Limits of the area of a random crop, see `random_window`.
        mean: Subtracted per channel, on the scale 0 .. 1.
        std: Divided by per channel, after the mean.
        flip: Whether to mirror half of the training images.

    Raises:
        ConfigError: `image_size` is larger than `resize_size`.
        DataUnavailableError: None of several images can be decoded.
    """

    PARALLEL_BATCHES = 2
    PREFETCHED_BATCHES = 1

    def __init__(
        self,
        name: str,
        num_classes: int,
        train: EncodedImages,
        test: EncodedImages,
        *,
        image_size: int = 224,
        resize_size: int = 256,
        scale: tuple[float, float] = (0.08, 1.0),
        mean: tuple[float, ...] = MEAN,
        std: tuple[float, ...] = STD,
        flip: bool = True,
    ) -> None:
        if not 1 <= image_size <= resize_size:
            raise ConfigError(
                f"expected an image size from 1 to the {resize_size} pixels that test images are resized to, received "
                f"{image_size}; lower it, or raise the resize size"
            )
        self.name = name
        self.num_classes = num_classes
        self.image_size = image_size
        self.resize_size = resize_size
        self.mean = mean
        self.std = std
        self._appearance = Appearance(image_size, scale, flip, mean, std)
        self._train, self._test = train, test
        self._broken = BrokenImages(train, "training"), BrokenImages(test, "test")
        self._check_some()

    @property
    def preparation(self) -> dict[str, Any]:
        """How images are prepared, see `ImageDataset.preparation`."""
        return {
            "mean": [255 * float(value) for value in self.mean],
            "std": [255 * float(value) for value in self.std],
            "image_size": self.image_size,
            "resize_size": self.resize_size,
            "augmentation": {"flip": self._appearance.flip, "crop_area": list(self._appearance.scale)},
        }

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)` of the images in a batch."""
        return self.image_size, self.image_size, 3

    @property
    def train_examples(self) -> int:
        """Number of training images."""
        return len(self._train)

    @property
    def test_examples(self) -> int:
        """Number of test images."""
        return len(self._test)

    def notes(self) -> tuple[str, ...]:
        """Returns how many images could not be read, if any."""
        return tuple(note for broken in self._broken for note in broken.notes())

    def training_reader(self, request: BatchRequest) -> Reader:
        """Returns a function that reads one training batch, see `ImageDataset.training_reader`."""
        return tf.function(_training_reader(self._train, self._broken[0], self._appearance, request))

    def test_batches(self, batch_size: int) -> tf.data.Dataset:
        """Returns the center of all test images that can be read, in file order."""
        batches = self._centers(self._test, self._broken[1], np.arange(len(self._test)), batch_size)
        return batches.map(lambda batch: {name: batch[name] for name in ("images", "labels")})

    def plain_batches(
        self,
        batch_size: int,
        positions: np.ndarray | None = None,
        *,
        start_step: int = 0,
        drop_remainder: bool = False,
    ) -> tf.data.Dataset:
        """Returns the center of training images, see `ImageDataset.plain_batches`."""
        chosen = np.arange(len(self._train)) if positions is None else positions
        end = len(chosen) - (len(chosen) % batch_size if drop_remainder else 0)
        return self._centers(self._train, self._broken[0], chosen[start_step * batch_size : end], batch_size)

    def train_labels_at(self, positions: np.ndarray) -> np.ndarray:
        """Returns labels of training images; for data of TensorFlow Datasets this reads their records."""
        return self._train.labels(positions)

    def _centers(
        self, images: EncodedImages, broken: BrokenImages, positions: np.ndarray, batch_size: int
    ) -> tf.data.Dataset:
        """Returns batches of the center of images that can be read."""

        def decode(position: tf.Tensor, draw: Any) -> tuple[tf.Tensor, tf.Tensor]:
            contents, label = images.read(position)
            return self._appearance.normalized(decode_center(contents, self.image_size, self.resize_size)), label

        def batch(some: tf.Tensor) -> Batch:
            pixels, labels, places = readable_images(decode, some, (), self.input_shape, broken)
            return {"images": pixels, "labels": labels, "positions": tf.gather(some, places)}

        parts = tf.data.Dataset.from_tensor_slices(np.asarray(positions, np.int64)).batch(batch_size)
        batches = parts.map(batch, num_parallel_calls=self.PARALLEL_BATCHES, deterministic=True)
        return batches.filter(lambda batch: tf.size(batch["labels"]) > 0).prefetch(1)

    def _check_some(self) -> None:
        """Raises DataUnavailableError if none of several training images can be decoded."""
        positions = np.linspace(0, len(self._train) - 1, _CHECKED_FIRST).astype(np.int64)
        for position in np.unique(positions):
            try:
                decode_center(self._train.read(tf.constant(position))[0], self.image_size, self.resize_size)
                return
            except (tf.errors.OpError, OSError, ValueError):  # the latter two from Python, as here is no graph
                continue
        raise DataUnavailableError(
            f"none of several training images of {self.name} can be read, such as {self._train.describe(0)}; expected "
            "JPEG or PNG images"
        )


def _training_reader(
    images: EncodedImages, broken: BrokenImages, appearance: Appearance, request: BatchRequest
) -> Reader:
    """Returns a function that reads, augments and normalizes training images.

    Args:
        images: The training images.
        broken: Records those that cannot be read.
        appearance: Size, crop and normalization.
        request: Which batches are wanted.

    Returns:
        A function from a step and positions `[batch_size]` in the training images to the positions of the images in
        the batch and the batch, see `ImageDataset.training_reader`.
    """
    batch_size, seed, rows = request.batch_size, request.seed, request.rows
    views, view, crops, count = request.views, request.view, request.augmented_views, request.count
    shape = (*([views] if views > 1 else []), appearance.size, appearance.size, 3)

    def decode(position: tf.Tensor, draw: _Draws) -> tuple[tf.Tensor, tf.Tensor]:
        contents, label = images.read(position)
        several = tf.stack([appearance.crop(contents, draw[0][crop]) for crop in range(crops)])
        if request.color_jitter:
            means = tf.reduce_mean(several, axis=(1, 2), keepdims=True)
            several = jitter_colors(several[None], means[None], draw[1])[0]
        return several if view is not None else finish(several), label

    def change(crop: tf.Tensor, draw: _Draws) -> tf.Tensor:
        assert view is not None
        return finish(shown_views(view, crop, draw[2][None], views)[0])

    def finish(several: tf.Tensor) -> tf.Tensor:
        return appearance.normalized(several if views > 1 else several[0])

    def batch(step: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, Batch]:
        keys = tf.random.split(tf.random.fold_in(tf.constant([seed, 1], tf.int64), step), 2)
        draws = (
            tf.random.stateless_uniform([batch_size, crops, DRAWS], keys[0]),
            tf.random.stateless_uniform([batch_size, 2], keys[1], None, None, tf.int32),
            view_seeds(seed, step, batch_size, views),
        )
        if rows is not None:
            positions, draws = tf.nest.map_structure(lambda each: tf.gather(each, rows), (positions, draws))
        found = readable_images(decode, positions, draws, shape, broken, change=None if view is None else change)
        pixels, labels, shown = _filled_up(*found, count)
        # The rows of a memory bank must be those of the images in the batch.
        return tf.gather(positions, shown), {"images": tf.ensure_shape(pixels, [count, *shape]), "labels": labels}

    return batch


def _filled_up(
    images: tf.Tensor, labels: tf.Tensor, places: tf.Tensor, count: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Completes a batch by repeating the next readable image, or the last one, for each that cannot be read.

    Args:
        images: `[readable, ...]`.
        labels: `[readable]`.
        places: `[readable]`, int64, their indices in the batch, increasing.
        count: Images of a batch.

    Returns:
        Images, labels and indices, `[count, ...]` each.
    """
    some = tf.debugging.Assert(tf.size(places) > 0, ["no image of a training batch can be read"])
    with tf.control_dependencies([some]):
        chosen = tf.minimum(tf.searchsorted(places, tf.range(count, dtype=tf.int64)), len(places) - 1)
    images = tf.cond(tf.size(places) == count, lambda: images, lambda: tf.gather(images, chosen))
    chosen = tf.ensure_shape(chosen, [count])
    return images, tf.gather(labels, chosen), tf.gather(places, chosen)
