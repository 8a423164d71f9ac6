"""Data sets that are held in memory as bytes, and their changed versions for the sanity checks.

`ImageData` gathers each training batch by one operation. `data_fraction`, `random_labels` and
`shuffled_pixels` return data sets with fewer or corrupted training images.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.arguments import instance, number, seed_number, text, truth, whole_number
from tfprune.arrays import checked_array
from tfprune.batches.labels import class_numbers
from tfprune.errors import ConfigError
from tfprune.recipes.data.augmentation import jitter_colors, random_positions
from tfprune.recipes.data.dataset import Batch, BatchRequest, ImageDataset, Reader, checked_positions
from tfprune.recipes.data.views import shown_views, view_seeds
from tfprune.reprs import short_repr

_LABEL_SEED = 12345
_IN_MEMORY = "an ImageData, such as load_data returns"


@dataclass(frozen=True, eq=False)
class ImageData(ImageDataset):
    """A data set in memory: images and labels in file order, and how they are normalized and augmented.

    Args:
        name: Name of the data set, as `data_names()` lists it.
        num_classes: Number of classes; labels are in `0 .. num_classes - 1`.
        train_images: `[train, height, width, channels]`, uint8.
        train_labels: `[train]`, int64.
        test_images: `[test, height, width, channels]`, uint8.
        test_labels: `[test]`, int64.
        mean: Subtracted per channel, on the scale 0 .. 255.
        std: Divided by per channel, after the mean; above 0.
        flip: Whether to mirror half of the training images.
        crop_padding: Pixels by which training images are padded (by reflection) before they are cropped to their size.

    Raises:
        ConfigError: Arrays have other shapes or lengths, numbers are not finite, or labels are no class numbers.
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

    __repr__ = short_repr

    def __post_init__(self) -> None:
        text("name", self.name)
        object.__setattr__(self, "num_classes", whole_number("num_classes", self.num_classes))
        object.__setattr__(self, "flip", truth("flip", self.flip))
        object.__setattr__(self, "crop_padding", whole_number("crop_padding", self.crop_padding, at_least=0))
        for part, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            name = f"{self.name}: {part}_images"
            pixels = checked_array(images, name)
            if pixels.ndim != 4 or pixels.shape[1:] != np.shape(self.train_images)[1:]:
                raise ConfigError(
                    f"{name}: expected images [images, height, width, channels], all of one size, received shape "
                    f"{list(pixels.shape)}"
                )
            numbers = class_numbers(labels, (None, self.num_classes), f"{self.name}: {part}_labels")
            if len(numbers) != len(pixels):
                raise ConfigError(f"{name}: expected as many as labels, received {len(pixels)} and {len(numbers)}")
        for part, values in (("mean", self.mean), ("std", self.std)):
            found = checked_array(values, f"{self.name}: {part}")
            if found.shape != (self.input_shape[-1],) or (part == "std" and not (found > 0).all()):
                raise ConfigError(
                    f"{self.name}: {part}: expected {self.input_shape[-1]} numbers, one for each channel, those of std "
                    f"above 0, received {values}"
                )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)` of one image."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels

    @property
    def train_examples(self) -> int:
        """Number of training images."""
        return len(self.train_labels)

    @property
    def test_examples(self) -> int:
        """Number of test images."""
        return len(self.test_labels)

    @property
    def preparation(self) -> dict[str, Any]:
        """How images are prepared, see `ImageDataset.preparation`."""
        return {
            "mean": [float(value) for value in self.mean],
            "std": [float(value) for value in self.std],
            "augmentation": {"flip": self.flip, "crop_padding": self.crop_padding},
        }

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """Normalizes images as the models of this data set expect them.

        Args:
            images: `[..., height, width, channels]`, on the scale 0 .. 255.

        Returns:
            `(images - mean) / std`, float32 of the same shape.
        """
        pixels = checked_array(images, "images", finite=False)
        if pixels.shape[-1:] != self.input_shape[-1:]:
            raise ConfigError(
                f"images: expected {self.input_shape[-1]} channels on the last axis, received shape "
                f"{list(pixels.shape)}"
            )
        return (pixels.astype(np.float32) - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)

    def normalize_tensor(self, images: tf.Tensor) -> tf.Tensor:
        """Normalizes images as `normalize` does, in TensorFlow.

        Args:
            images: `[..., height, width, channels]`, of any number type, on the scale 0 .. 255.

        Returns:
            `(images - mean) / std`, float32 of the same shape.
        """
        return (tf.cast(images, tf.float32) - tf.constant(self.mean)) / tf.constant(self.std)

    def training_reader(self, request: BatchRequest) -> Reader:
        """Returns a function that gathers one training batch, see `ImageDataset.training_reader`."""
        height, width, channels = self.input_shape
        pixels, rows, view = height * width, request.rows, request.view
        with tf.device("CPU:0"):  # the data set runs there, and no accelerator should hold all images
            source = tf.constant(self.train_images.reshape(-1, channels))
            labels = tf.constant(self.train_labels, tf.int64)

        def read(step: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, Batch]:
            keys = tf.random.split(tf.random.fold_in(tf.constant([request.seed, 1], tf.int64), step), 2)
            moved = random_positions(
                keys[0],
                batch=request.batch_size,
                views=request.augmented_views,
                height=height,
                width=width,
                padding=self.crop_padding,
                flip=self.flip,
            )
            if rows is not None:
                positions, moved = tf.gather(positions, rows), tf.gather(moved, rows)
            first = positions[:, None, None, None] * pixels
            images = tf.cast(tf.gather(source, first + tf.cast(moved, tf.int64)), tf.float32)
            if request.color_jitter:
                originals = tf.gather(tf.reshape(source, [-1, pixels, channels]), positions)
                means = tf.reduce_mean(tf.cast(originals, tf.float32), axis=1)[:, None, None, None, :]
                images = jitter_colors(images, means, keys[1], rows=rows, batch=request.batch_size)
            if view is not None:
                seeds = view_seeds(request.seed, step, request.batch_size, request.views)
                seeds = seeds if rows is None else tf.gather(seeds, rows)
                images = shown_views(view, images[:, 0], seeds, request.views)
            images = self.normalize_tensor(images if request.views > 1 else images[:, 0])
            return positions, {"images": images, "labels": tf.gather(labels, positions)}

        return read

    def test_batches(self, batch_size: int) -> tf.data.Dataset:
        """Returns all test images in file order."""
        return fixed_batches(self.test_images, self.test_labels, self, batch_size)

    def plain_batches(
        self,
        batch_size: int,
        positions: np.ndarray | None = None,
        *,
        start_step: int = 0,
        drop_remainder: bool = False,
    ) -> tf.data.Dataset:
        """Returns training images without augmentation, see `ImageDataset.plain_batches`."""
        every = np.arange(self.train_examples)
        all_positions = every if positions is None else checked_positions(positions, self.train_examples)
        chosen = slice(None) if positions is None else all_positions
        batches = fixed_batches(
            self.train_images[chosen], self.train_labels[chosen], self, batch_size, drop_remainder, start_step
        )
        places = tf.data.Dataset.from_tensor_slices(all_positions[start_step * batch_size :])
        return tf.data.Dataset.zip(batches, places.batch(batch_size, drop_remainder)).map(
            lambda batch, some: batch | {"positions": some}
        )

    def train_labels_at(self, positions: np.ndarray) -> np.ndarray:
        """Returns the labels of training images, `[images]`, int64."""
        return self.train_labels[checked_positions(positions, self.train_examples)]


def fixed_batches(
    images: np.ndarray,
    labels: np.ndarray,
    data: ImageData,
    batch_size: int,
    drop_remainder: bool = False,
    start_step: int = 0,
) -> tf.data.Dataset:
    """Returns normalized batches in the given order, without augmentation.

    Args:
        images: `[images, height, width, channels]`, uint8.
        labels: `[images]`, int64.
        data: The data set that the images belong to, whose normalization is used.
        batch_size: Images per batch.
        drop_remainder: Whether to leave out a last, shorter batch.
        start_step: Batch to start with.

    Returns:
        Batches `{"images": [batch, height, width, channels] float32, "labels": [batch] int64}`.

    Raises:
        ConfigError: Images and labels are not of the data set, or a number is out of range.
    """
    instance("data", data, ImageData, _IN_MEMORY)
    images = checked_array(images, "images")
    labels = class_numbers(labels, (None, data.num_classes), "labels")
    if images.shape[1:] != data.input_shape or len(images) != len(labels):
        raise ConfigError(
            f"expected images of shape {list(data.input_shape)} and as many labels, received shape "
            f"{list(images.shape)} and {len(labels)} labels"
        )
    batch_size, start_step = whole_number("batch_size", batch_size), whole_number("start_step", start_step, at_least=0)
    drop_remainder = truth("drop_remainder", drop_remainder)
    with tf.device("CPU:0"):  # the data set runs there, and no accelerator should hold all images
        all_images, all_labels = tf.constant(images), tf.constant(labels, tf.int64)
    count = len(labels)
    end = count - count % batch_size if drop_remainder else count
    length = batch_size if end % batch_size == 0 else None

    def batch(start: tf.Tensor) -> dict[str, tf.Tensor]:
        part = all_images[start : start + batch_size]
        return {
            "images": data.normalize_tensor(tf.ensure_shape(part, [length, *images.shape[1:]])),
            "labels": tf.ensure_shape(all_labels[start : start + batch_size], [length]),
        }

    starts = tf.data.Dataset.range(start_step * batch_size, end, batch_size)
    return starts.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def data_fraction(data: ImageData, fraction: float, seed: int = 0, *, first: bool = False) -> ImageData:
    """Returns a data set with a fraction of the training images.

    Args:
        data: The data set. It is not changed; the test images stay.
        fraction: Fraction to keep, above 0 and at most 1, of the images of each class; rounded up to whole images.
        seed: Seed of the draws.
        first: Whether to keep the first images of the file instead of drawing from each class. The authors' half of
            CIFAR is its first 24,960 of 50,000 images, a fraction of 0.4992.

    Returns:
        The data set with fewer training images, in file order.

    Raises:
        ConfigError: The fraction is out of range.
    """
    instance("data", data, ImageData, _IN_MEMORY)
    fraction, seed = number("fraction", fraction, above=0, at_most=1), seed_number(seed)
    first = truth("first", first)
    labels = data.train_labels
    if first:
        chosen = np.arange(_share(len(labels), fraction))
    else:
        generator = np.random.default_rng(seed)
        parts = [np.flatnonzero(labels == label) for label in range(data.num_classes)]
        chosen = np.sort(np.concatenate([generator.permutation(part)[: _share(len(part), fraction)] for part in parts]))
    return replace(data, train_images=data.train_images[chosen], train_labels=labels[chosen])


def _share(count: int, fraction: float) -> int:
    """Returns a fraction of a number, rounded up except for the rounding error of the fraction itself."""
    return min(count, int(np.ceil(round(count * fraction, 6))))


def random_labels(data: ImageData, seed: int = _LABEL_SEED) -> ImageData:
    """Replaces all training labels by random ones; about one in `num_classes` is unchanged by chance.

    Args:
        data: The data set. It is not changed; the test labels stay.
        seed: Seed of the draws. The default gives the labels of the original, for the same number of images.

    Returns:
        The data set with other training labels.

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), the authors' `CIFAR10RandomLabels`, after Zhang et
        al., Understanding Deep Learning Requires Rethinking Generalization (ICLR 2017).
    """
    instance("data", data, ImageData, _IN_MEMORY)
    generator = np.random.RandomState(seed_number(seed))
    count = len(data.train_labels)
    generator.rand(count)  # the original draws which labels to replace, and then replaces all
    return replace(data, train_labels=generator.choice(data.num_classes, count).astype(np.int64))


def shuffled_pixels(data: ImageData, seed: int = 0, *, fixed: bool = False) -> ImageData:
    """Permutes all values of every training image, positions and colors mixed.

    Args:
        data: The data set. It is not changed; the test images stay.
        seed: Seed of the permutations.
        fixed: Whether to use one permutation for all images instead of one per image, as in the original.

    Returns:
        The data set with other training images.

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), the authors' `--shufflePixel`, which also draws
        random labels: see `random_labels`.
    """
    instance("data", data, ImageData, _IN_MEMORY)
    fixed = truth("fixed", fixed)
    generator = np.random.default_rng(seed_number(seed))
    flat = data.train_images.reshape(len(data.train_images), -1)
    moved = flat[:, generator.permutation(flat.shape[1])] if fixed else generator.permuted(flat, axis=1)
    return replace(data, train_images=np.ascontiguousarray(moved).reshape(data.train_images.shape))
