"""A data set of images, whole in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.recipes.data.batches import fixed_batches, prune_set, training_batches
from tfprune.recipes.data.dataset import ImageArrays, ImageDataset, Knowledge, View

_SEED = 12345


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


def data_fraction(data: ImageData, fraction: float, seed: int = 0, *, first: bool = False) -> ImageData:
    """Leaves out training images.

    Args:
        data: The data set. It is not changed; the test images stay.
        fraction: Fraction of the training images to keep, above 0 and at most 1; of each class, unless `first`, rounded
            up to whole images.
        seed: Seed of the choice.
        first: Take the first ones of the file instead of a choice by class. The authors' half of CIFAR is its first
            24,960 of 50,000 images, a fraction of 0.4992.

    Returns:
        The data set with fewer training images, in file order.

    Raises:
        ConfigError: The fraction is out of range.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"expected a fraction of the data above 0 and at most 1, received {fraction!r}; for half 0.5")
    labels = data.train_labels
    if first:
        chosen = np.arange(_share(len(labels), fraction))
    else:
        generator = np.random.default_rng(seed)
        parts = [np.flatnonzero(labels == label) for label in range(data.num_classes)]
        chosen = np.sort(np.concatenate([generator.permutation(part)[: _share(len(part), fraction)] for part in parts]))
    return replace(data, train_images=data.train_images[chosen], train_labels=labels[chosen])


def _share(count: int, fraction: float) -> int:
    """Rounded up, but for what is no more than rounding of the fraction itself."""
    return min(count, int(np.ceil(round(count * fraction, 6))))


def random_labels(data: ImageData, seed: int = _SEED) -> ImageData:
    """Replaces all training labels by random ones; about one in `num_classes` keeps its own by chance.

    Args:
        data: The data set. It is not changed; the test labels stay.
        seed: Seed of the draws. With the default they are, for as many images, those of the original.

    Returns:
        The data set with other training labels.

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), the authors' `CIFAR10RandomLabels`, after Zhang et
        al., Understanding Deep Learning Requires Rethinking Generalization (ICLR 2017).
    """
    generator = np.random.RandomState(seed)
    count = len(data.train_labels)
    generator.rand(count)  # the original draws which labels to replace, and then replaces all
    return replace(data, train_labels=generator.choice(data.num_classes, count).astype(np.int64))


def shuffled_pixels(data: ImageData, seed: int = 0, *, fixed: bool = False) -> ImageData:
    """Permutes all values of every training image, positions and colours mixed.

    Args:
        data: The data set. It is not changed; the test images stay.
        seed: Seed of the permutations.
        fixed: One permutation for all images, rather than another one for each as in the original.

    Returns:
        The data set with other training images.

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), the authors' `--shufflePixel`, which also draws
        labels at random: see `random_labels`.
    """
    generator = np.random.default_rng(seed)
    flat = data.train_images.reshape(len(data.train_images), -1)
    moved = flat[:, generator.permutation(flat.shape[1])] if fixed else generator.permuted(flat, axis=1)
    return replace(data, train_images=np.ascontiguousarray(moved).reshape(data.train_images.shape))
