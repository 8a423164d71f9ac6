"""What a data set of images offers to training, wherever it is stored, and which batches can be asked of it.

`ImageDataset` is the interface: `ImageData` (in memory) and `StreamedData` (read from files) implement it. A
`BatchRequest` says which training batches are wanted. Every batch is a pure function of the request's seed and the
batch's step: a sequence that begins at step k gives, bit for bit, what an unbroken sequence gives from step k on, and
each of several workers can ask for its own rows of every batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.recipes.data.knowledge import Knowledge, check_knowledge, knowledge_rows
from tfprune.recipes.data.views import View

Batch = dict[str, tf.Tensor]
Reader = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, Batch]]
_LOOKED_UP_AT_ONCE = 1024


@dataclass(frozen=True)
class BatchRequest:
    """Which training batches are wanted.

    Attributes:
        batch_size: Images per batch; the remainder of an epoch is left out.
        epochs: Epochs of the whole sequence, the skipped steps included.
        seed: Drives order and augmentation.
        start_step: Step, counted over all epochs, to begin at.
        views: With 2 or more, each image comes in that many views, stacked on axis 1. They are augmented independently;
            with `view`, the first is the augmented image itself, and the others are what `view` makes of it, as
            `tfprune.recipes.training.Consistency` needs it with 3.
        view: Changes the augmented images, such as `AugMix()`.
        color_jitter: Whether to change contrast and saturation too (see `jitter_colors`).
        knowledge: Rows `[train, classes, teachers]` that belong to the training images; only the rows of each batch
            are read.
        rows: Positions within each batch whose images are wanted, in this order, such as the share of one of several
            workers; they look as they do in the whole batch. Default: all.
    """

    batch_size: int
    epochs: int
    seed: int
    start_step: int = 0
    views: int = 1
    view: View | None = None
    color_jitter: bool = False
    knowledge: Knowledge | None = None
    rows: Sequence[int] | None = None

    @property
    def count(self) -> int:
        """Images that each batch contains."""
        return self.batch_size if self.rows is None else len(self.rows)

    @property
    def augmented_views(self) -> int:
        """Independently augmented versions of each image."""
        return self.views if self.view is None else 1

    def check(self, data: "ImageDataset") -> None:
        """Checks the request against a data set.

        Args:
            data: The data set that the batches are asked of.

        Raises:
            ConfigError: A number is out of range, or `knowledge` does not belong to the training images.
        """
        steps = self.epochs * data.steps_per_epoch(self.batch_size)
        if self.epochs < 0 or self.views < 1:
            raise ConfigError(f"expected epochs >= 0 and views >= 1, received {self.epochs} and {self.views}")
        if not 0 <= self.start_step <= steps:
            raise ConfigError(
                f"expected a start step from 0 to the {steps} steps of {self.epochs} epochs, received {self.start_step}"
            )
        if self.knowledge is not None:
            check_knowledge(self.knowledge, (data.train_examples, data.num_classes), data.name)
        if self.rows is not None and not (self.rows and all(0 <= row < self.batch_size for row in self.rows)):
            raise ConfigError(
                f"expected rows of a batch, 0 to {self.batch_size - 1}, at least one, received {list(self.rows)}"
            )


class ImageDataset(ABC):
    """Labeled images to train on and to test with, in batches.

    Images are normalized; batches are dicts of `images` `[batch, height, width, channels]` float32 and `labels`
    `[batch]` int64.

    Attributes:
        name: Name of the data set.
        num_classes: Number of classes; labels are in `0 .. num_classes - 1`.
    """

    PARALLEL_BATCHES: ClassVar[int] = tf.data.AUTOTUNE
    PREFETCHED_BATCHES: ClassVar[int] = tf.data.AUTOTUNE

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
    def training_reader(self, request: BatchRequest) -> Reader:
        """Returns a function that reads, augments and normalizes the images of one training batch.

        Args:
            request: How; `epochs`, `start_step` and `knowledge` do not matter here.

        Returns:
            From a step and positions `[batch_size]` in the training images to the positions of the images that are
            shown, `[request.count]`, and the batch.
        """

    @abstractmethod
    def test_batches(self, batch_size: int) -> tf.data.Dataset:
        """Returns all test images in file order, without augmentation; the last batch may be shorter."""

    @abstractmethod
    def plain_batches(
        self,
        batch_size: int,
        positions: np.ndarray | None = None,
        *,
        start_step: int = 0,
        drop_remainder: bool = False,
    ) -> tf.data.Dataset:
        """Returns training images as test images are shown: in a given order, without augmentation.

        Args:
            batch_size: Images per batch; images that cannot be read are left out of their batch.
            positions: `[images]`, int64, which images in which order. Default: all in file order.
            start_step: Batch to begin with.
            drop_remainder: Whether to leave out a last batch of fewer positions.

        Returns:
            Batches that also contain `positions`, int64, of their images.
        """

    @abstractmethod
    def train_labels_at(self, positions: np.ndarray) -> np.ndarray:
        """Returns the labels of training images, `[images]`, int64."""

    def training_batches(self, request: BatchRequest) -> tf.data.Dataset:
        """Returns shuffled, augmented, normalized batches of the training images.

        Args:
            request: Which ones.

        Returns:
            Batches `{"images": [batch, (views,) height, width, channels] float32, "labels": [batch] int64}` and, with
            `knowledge`, `"knowledge": [batch, classes, teachers] float32`.

        Raises:
            ConfigError: The request does not fit this data set, see `BatchRequest.check`.
        """
        request.check(self)
        read = self.training_reader(request)
        steps = shuffled_steps(self.train_examples, request)
        dataset = steps.map(read, num_parallel_calls=self.PARALLEL_BATCHES, deterministic=True)
        if request.knowledge is not None:
            dataset = dataset.map(knowledge_rows(request.knowledge, request.count))
        else:
            dataset = dataset.map(lambda positions, batch: batch)
        return dataset.prefetch(self.PREFETCHED_BATCHES)

    def prune_images(self, count: int, *, balanced: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Draws training images and augments each of them once, as for training.

        Args:
            count: How many images.
            balanced: Take equally many of each class, rather than any.
            seed: Seed of the choice and of the augmentation.

        Returns:
            Images `[count, height, width, channels]` float32, normalized, and labels `[count]` int64.

        Raises:
            ConfigError: There are not as many images, or not as many of a class.

        Reference:
            Chen et al., Peek-a-Boo (ICLR 2022), the authors' `main_cifar.py`: 100 images of any class, augmented.
        """
        positions = prune_positions(
            self.train_examples, self.num_classes, self.train_labels_at, count, balanced=balanced, seed=seed
        )
        read = self.training_reader(BatchRequest(batch_size=count, epochs=1, seed=seed))
        batch = read(tf.constant(0, tf.int64), tf.constant(positions, tf.int64))[1]
        return batch["images"].numpy(), batch["labels"].numpy()

    def notes(self) -> tuple[str, ...]:
        """Returns what a user should be told after the data were used, such as how many images could not be read."""
        return ()

    def steps_per_epoch(self, batch_size: int) -> int:
        """Returns the number of training batches in an epoch; a remainder that fills no batch is left out.

        Raises:
            ConfigError: The training images do not fill one batch.
        """
        if not 1 <= batch_size <= self.train_examples:
            raise ConfigError(
                f"expected a batch size from 1 to the {self.train_examples} training images, received {batch_size}"
            )
        return self.train_examples // batch_size


def shuffled_steps(examples: int, request: BatchRequest) -> tf.data.Dataset:
    """Returns for every step its number and the examples of its batch.

    Each epoch has a permutation that depends only on the seed and the epoch, so a sequence can begin at any step
    without producing anything for the steps before.

    Args:
        examples: Number of training examples.
        request: Batch size, epochs, seed and start step.

    Returns:
        Elements `(step, positions)`: an int64 scalar and `[batch_size]`, int64.
    """
    seed, start_step, batch_size = request.seed, request.start_step, request.batch_size
    per_epoch = examples // batch_size

    def epoch_steps(epoch: tf.Tensor) -> tf.data.Dataset:
        key = tf.random.fold_in(tf.constant([seed, 0], tf.int64), epoch)
        order = tf.random.experimental.stateless_shuffle(tf.range(examples, dtype=tf.int64), key)
        skipped = tf.maximum(start_step - epoch * per_epoch, 0)
        batches = tf.reshape(order[: per_epoch * batch_size], [per_epoch, batch_size])[skipped:]
        steps = tf.range(epoch * per_epoch + skipped, (epoch + 1) * per_epoch)
        return tf.data.Dataset.from_tensor_slices((steps, batches))

    steps = tf.data.Dataset.range(start_step // per_epoch, request.epochs).flat_map(epoch_steps)
    return steps.apply(tf.data.experimental.assert_cardinality(request.epochs * per_epoch - start_step))


def prune_positions(
    examples: int,
    num_classes: int,
    labels: Callable[[np.ndarray], np.ndarray],
    count: int,
    *,
    balanced: bool = False,
    seed: int = 0,
) -> np.ndarray:
    """Draws positions of training images without repetition.

    Args:
        examples: Number of training images.
        num_classes: Number of classes.
        labels: Gives the labels of positions; only asked if `balanced`, and only as far as needed.
        count: How many to draw.
        balanced: Take equally many of each class; a remainder goes to classes that are drawn, too.
        seed: Seed of the draws.

    Returns:
        `[count]`, int64, in random order.

    Raises:
        ConfigError: There are not as many images, or not as many of a class.
    """
    if not 1 <= count <= examples:
        raise ConfigError(f"expected 1 to {examples} images to prune by, as there are to train on, received {count}")
    generator = np.random.default_rng(seed)
    order = generator.permutation(examples)
    if not balanced:
        return order[:count]
    wanted = np.full(num_classes, count // num_classes)
    wanted[generator.permutation(num_classes)[: count % num_classes]] += 1
    left, chosen = wanted.copy(), []
    for start in range(0, examples, _LOOKED_UP_AT_ONCE):
        some = order[start : start + _LOOKED_UP_AT_ONCE]
        for position, label in zip(some, labels(some), strict=True):
            if left[label]:
                left[label] -= 1
                chosen.append(position)
        if not left.any():
            return np.asarray(chosen, np.int64)
    label = int(np.argmax(left))
    raise ConfigError(
        f"expected {wanted[label]} training images in every class to prune by, found {wanted[label] - left[label]} in "
        f"class {label}; use fewer images, or not as many from each class"
    )
