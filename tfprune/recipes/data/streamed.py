"""A data set of encoded images, read from the disk as they are needed."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError, DataUnavailableError
from tfprune.recipes.data.augmentation import DRAWS, Appearance, jitter_colors
from tfprune.recipes.data.batches import prune_positions, shuffled_steps
from tfprune.recipes.data.dataset import ImageDataset, Knowledge, View, check_rows, check_steps, shown_views, view_seeds
from tfprune.recipes.data.decoding import BrokenImages, EncodedImages, decode_center, readable_images
from tfprune.recipes.data.knowledge import check_knowledge, knowledge_rows

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_BATCHES_AT_ONCE = 2
_LOOKED_AT_FIRST = 16
_Batch = dict[str, tf.Tensor]
_Draws = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


class StreamedData(ImageDataset):
    """Training images are cropped at random, resized and mirrored; of test images the middle is taken.

    An image that cannot be read is passed over: in a training batch the next one of the batch (or of the rows of it
    that are asked for) takes its place, so that batches remain a function of seed and step; a test batch becomes
    shorter. `notes()` says how many there were.

    Args:
        name: Of the data set.
        num_classes: Number of classes.
        train: The images to train on.
        test: The images to test with.
        image_size: Pixels of each side of an image in a batch.
        resize_size: Pixels of the shorter side of a test image, of which the middle is taken.
        scale: Limits of the area of a random crop, see `random_window`.
        mean: Subtracted per channel, on the scale 0 .. 1.
        std: Divided by per channel, after the mean.
        flip: Whether to mirror half of the training images.

    Raises:
        ConfigError: The sizes contradict each other.
        DataUnavailableError: None of several images can be decoded.
    """

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
        self._look_at_some()

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
        """How many images could not be read, if any."""
        return tuple(note for broken in self._broken for note in broken.notes())

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
        examples = len(self._train)
        check_steps(examples, batch_size=batch_size, epochs=epochs, views=views, start_step=start_step)
        check_knowledge(knowledge, (examples, self.num_classes), self.name)
        check_rows(rows, batch_size)
        read = self._training_batch(
            batch_size=batch_size, seed=seed, views=views, view=view, color_jitter=color_jitter, rows=rows
        )
        steps = shuffled_steps(examples, batch_size=batch_size, epochs=epochs, seed=seed, start_step=start_step)
        dataset = steps.map(read, num_parallel_calls=_BATCHES_AT_ONCE, deterministic=True)
        if knowledge is not None:
            dataset = dataset.map(knowledge_rows(knowledge, batch_size if rows is None else len(rows)))
        else:
            dataset = dataset.map(lambda positions, batch: batch)
        return dataset.prefetch(1)

    def test_batches(self, batch_size: int) -> tf.data.Dataset:
        """The middle of all test images that can be read, in file order."""
        batches = self._middles(self._test, self._broken[1], np.arange(len(self._test)), batch_size)
        return batches.map(lambda batch: {name: batch[name] for name in ("images", "labels")})

    def plain_batches(
        self,
        batch_size: int,
        positions: np.ndarray | None = None,
        *,
        start_step: int = 0,
        drop_remainder: bool = False,
    ) -> tf.data.Dataset:
        """The middle of training images, see `ImageDataset.plain_batches`."""
        chosen = np.arange(len(self._train)) if positions is None else positions
        end = len(chosen) - (len(chosen) % batch_size if drop_remainder else 0)
        return self._middles(self._train, self._broken[0], chosen[start_step * batch_size : end], batch_size)

    def train_labels_at(self, positions: np.ndarray) -> np.ndarray:
        """Labels of training images; for data of TensorFlow Datasets their records are read."""
        return self._train.labels(positions)

    def prune_images(self, count: int, *, balanced: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """A few training images, augmented as in training; see `prune_set`."""
        positions = prune_positions(
            len(self._train), self.num_classes, self._train.labels, count, balanced=balanced, seed=seed
        )
        read = tf.function(self._training_batch(batch_size=count, seed=seed))
        batch = read(tf.constant(0, tf.int64), tf.constant(positions, tf.int64))[1]
        return batch["images"].numpy(), batch["labels"].numpy()

    def _middles(
        self, images: EncodedImages, broken: BrokenImages, positions: np.ndarray, batch_size: int
    ) -> tf.data.Dataset:
        def decode(position: tf.Tensor, draw: Any) -> tuple[tf.Tensor, tf.Tensor]:
            contents, label = images.read(position)
            return self._appearance.normalized(decode_center(contents, self.image_size, self.resize_size)), label

        def batch(some: tf.Tensor) -> _Batch:
            pixels, labels, places = readable_images(decode, some, (), self.input_shape, broken)
            return {"images": pixels, "labels": labels, "positions": tf.gather(some, places)}

        parts = tf.data.Dataset.from_tensor_slices(np.asarray(positions, np.int64)).batch(batch_size)
        batches = parts.map(batch, num_parallel_calls=_BATCHES_AT_ONCE, deterministic=True)
        return batches.filter(lambda batch: tf.size(batch["labels"]) > 0).prefetch(1)

    def _training_batch(self, **settings: Any) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, _Batch]]:
        return streamed_batch(self._train, self._broken[0], self._appearance, **settings)

    def _look_at_some(self) -> None:
        """Whether the files are images at all."""
        positions = np.linspace(0, len(self._train) - 1, _LOOKED_AT_FIRST).astype(np.int64)
        for position in np.unique(positions):
            try:
                decode_center(self._train.read(tf.constant(position))[0], self.image_size, self.resize_size)
                return
            except tf.errors.OpError:
                continue
        raise DataUnavailableError(
            f"none of several training images of {self.name} can be read, such as {self._train.describe(0)}; expected "
            "JPEG or PNG images"
        )


def streamed_batch(
    images: EncodedImages,
    broken: BrokenImages,
    appearance: Appearance,
    *,
    batch_size: int,
    seed: int,
    views: int = 1,
    view: View | None = None,
    color_jitter: bool = False,
    rows: Sequence[int] | None = None,
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, _Batch]]:
    """Makes the function that reads, augments and normalises training images.

    Args:
        images: The training images.
        broken: Where those that cannot be read are noted.
        appearance: Size, crop and normalisation.
        batch_size: Images per batch.
        seed: With the step, it decides all draws.
        views: With 2 or more, so many views of each image, stacked on axis 1; see `training_batches`.
        view: What changes images.
        color_jitter: Whether to change contrast and saturation too (see `jitter_colors`).
        rows: Places within the batch whose images are wanted, in this order. Default: all.

    Returns:
        From a step and positions `[batch]` in the training images to the positions of those that are shown and the
        batch.
    """
    crops = views if view is None else 1
    count = batch_size if rows is None else len(rows)
    shape = (*([views] if views > 1 else []), appearance.size, appearance.size, 3)

    def decode(position: tf.Tensor, draw: _Draws) -> tuple[tf.Tensor, tf.Tensor]:
        contents, label = images.read(position)
        several = tf.stack([appearance.crop(contents, draw[0][crop]) for crop in range(crops)])
        if color_jitter:
            means = tf.reduce_mean(several, axis=(1, 2), keepdims=True)
            several = jitter_colors(several[None], means[None], draw[1])[0]
        return several if view is not None else finish(several), label

    def change(crop: tf.Tensor, draw: _Draws) -> tf.Tensor:
        assert view is not None
        return finish(shown_views(view, crop, draw[2][None], views)[0])

    def finish(several: tf.Tensor) -> tf.Tensor:
        return appearance.normalized(several if views > 1 else several[0])

    def batch(step: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, _Batch]:
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
        # A memory bank's rows have to be those of the images that are shown.
        return tf.gather(positions, shown), {"images": tf.ensure_shape(pixels, [count, *shape]), "labels": labels}

    return batch


def _filled_up(
    images: tf.Tensor, labels: tf.Tensor, places: tf.Tensor, count: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A whole batch: in the place of an image that cannot be read stands the next one that can, or the last.

    Args:
        images: `[readable, ...]`.
        labels: `[readable]`.
        places: `[readable]`, int64, where in the batch they belong, increasing.
        count: Images of a batch.

    Returns:
        Images, labels and places, `[count, ...]` each.
    """
    some = tf.debugging.Assert(tf.size(places) > 0, ["no image of a training batch can be read"])
    with tf.control_dependencies([some]):
        chosen = tf.minimum(tf.searchsorted(places, tf.range(count, dtype=tf.int64)), len(places) - 1)
    images = tf.cond(tf.size(places) == count, lambda: images, lambda: tf.gather(images, chosen))
    chosen = tf.ensure_shape(chosen, [count])
    return images, tf.gather(labels, chosen), tf.gather(places, chosen)
