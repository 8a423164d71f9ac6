"""The interface of data sets of images, and of the batches that they return.

`ImageDataset` is the interface: `ImageData` (in memory) and `StreamedData` (read from files) implement it. A
`BatchRequest` says which training batches are wanted. Every batch is a pure function of the seed of the
request and the step of the batch: a sequence that starts at step k has, bit for bit, the batches of a whole sequence
from step k on, and each of several workers can request its own rows of every batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfprune.arguments import each_of, instance, optional, seed_number, truth, whole_number
from tfprune.arrays import array_shape, checked_array
from tfprune.errors import ConfigError
from tfprune.recipes.data.knowledge import Knowledge
from tfprune.recipes.data.views import View
from tfprune.reprs import described, short_repr
from tfprune.tables import count

Batch = dict[str, tf.Tensor]
Reader = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, Batch]]
IMAGES = "an ImageDataset, such as load_data returns"
"""What a data set is, for messages."""

_LOOKED_UP_AT_ONCE = 1024
_READ_AT_ONCE = 128


@dataclass(frozen=True)
class BatchRequest:
    """Describes a sequence of training batches.

    Attributes:
        batch_size: Images per batch; the remainder of an epoch is left out.
        epochs: Epochs of the whole sequence, the skipped steps included.
        seed: Seed of order and augmentation.
        start_step: Step, counted over all epochs, to start at.
        views: Versions of each image. With 2 or more they are stacked on axis 1 and augmented independently; with
            `view`, the first one is the augmented image itself and the others are changed by `view`, which
            `tfprune.recipes.training.Consistency` needs with 3 views.
        view: Changes the augmented images, such as `AugMix()`.
        color_jitter: Whether to change contrast and saturation too (see `jitter_colors`).
        knowledge: Memory bank `[train, classes, teachers]` of the training images, whose rows are added to the batches.
        rows: Positions within each batch of the wanted images, in this order, such as the share of one of several
            workers; the images are the same as in the whole batch. Default: all.

    Raises:
        ConfigError: A value has another type, or a number is out of range.
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

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("epochs", 0), ("start_step", 0), ("views", 1)):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), at_least=least))
        object.__setattr__(self, "seed", seed_number(self.seed))
        object.__setattr__(self, "color_jitter", truth("color_jitter", self.color_jitter))
        optional(instance, "view", self.view, kind=View, words="a View")
        if self.rows is not None:
            object.__setattr__(self, "rows", each_of(whole_number, "rows", self.rows, at_least=0))
            if not (self.rows and max(self.rows) < self.batch_size):
                raise ConfigError(
                    f"expected rows of a batch, 0 to {self.batch_size - 1}, at least one, received {list(self.rows)}"
                )

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
            data: The data set that is to return the batches.

        Raises:
            ConfigError: A number is out of range, or `knowledge` has not the shape of the data set.
        """
        instance("data", data, ImageDataset, IMAGES)
        steps = self.epochs * data.steps_per_epoch(self.batch_size)
        if not 0 <= self.start_step <= steps:
            raise ConfigError(
                f"expected a start step from 0 to the {count(steps, 'step')} of {count(self.epochs, 'epoch')}, "
                f"received {self.start_step}"
            )
        if self.knowledge is not None:
            self._check_knowledge(self.knowledge, data)

    @staticmethod
    def _check_knowledge(knowledge: Knowledge, data: "ImageDataset") -> None:
        """Raises ConfigError unless a memory bank has the images and classes of the data set."""
        expected = data.train_examples, data.num_classes
        shape = array_shape(knowledge)
        if shape is None or len(shape) != 3 or shape[:2] != expected:
            found = described(knowledge) if shape is None else list(shape)
            raise ConfigError(
                f"expected knowledge of shape [{expected[0]}, {expected[1]}, teachers] for {data.name}, received "
                f"{found}; build the memory bank from the same data set"
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

    @property
    def preparation(self) -> dict[str, Any]:
        """How images are prepared, as plain values that a model's file records.

        `mean` and `std` of pixels of 0 .. 255, by which a model's inputs are normalized; `image_size` and `resize_size`
        of images from the disk; `augmentation`, how training images are changed. Default: nothing is known.
        """
        return {}

    @abstractmethod
    def training_reader(self, request: BatchRequest) -> Reader:
        """Returns a function that reads, augments and normalizes the images of one training batch.

        Args:
            request: Describes the batches; `epochs`, `start_step` and `knowledge` are not used here.

        Returns:
            A function from a step and positions `[batch_size]` in the training images to the positions of the images
            in the batch, `[request.count]`, and the batch.
        """

    @abstractmethod
    def test_batches(self, batch_size: int) -> tf.data.Dataset:
        """Returns all test images in file order, without augmentation.

        Args:
            batch_size: Images per batch; the last batch may be shorter.
        """

    @abstractmethod
    def plain_batches(
        self,
        batch_size: int,
        positions: np.ndarray | None = None,
        *,
        start_step: int = 0,
        drop_remainder: bool = False,
    ) -> tf.data.Dataset:
        """Returns training images in a given order, without augmentation, like test images.

        Args:
            batch_size: Images per batch; images that cannot be read are left out of their batch.
            positions: `[images]`, int64, of the images in the wanted order. Default: all in file order.
            start_step: Batch to start with.
            drop_remainder: Whether to leave out a last batch of fewer positions.

        Returns:
            Batches that also contain `positions`, int64, of their images.
        """

    @abstractmethod
    def train_labels_at(self, positions: np.ndarray) -> np.ndarray:
        """Returns the labels of training images.

        Args:
            positions: `[images]`, int64, of the images in file order.

        Returns:
            `[images]`, int64.
        """

    def training_batches(self, request: BatchRequest) -> tf.data.Dataset:
        """Returns shuffled, augmented, normalized batches of the training images.

        Args:
            request: Describes the batches.

        Returns:
            Batches `{"images": [batch, (views,) height, width, channels] float32, "labels": [batch] int64}` and, with
            `knowledge`, `"knowledge": [batch, classes, teachers] float32`.

        Raises:
            ConfigError: The request does not fit this data set, see `BatchRequest.check`.
        """
        instance("request", request, BatchRequest, "a BatchRequest").check(self)
        read = self.training_reader(request)
        steps = shuffled_steps(self.train_examples, request)
        dataset = steps.map(read, num_parallel_calls=self.PARALLEL_BATCHES, deterministic=True)
        if request.knowledge is not None:
            dataset = dataset.map(_knowledge_rows(request.knowledge, request.count))
        else:
            dataset = dataset.map(lambda positions, batch: batch)
        return dataset.prefetch(self.PREFETCHED_BATCHES)

    def prune_images(self, count: int, *, balanced: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Draws training images and augments each of them once, as for training.

        Args:
            count: How many images.
            balanced: Whether to draw the same number from each class.
            seed: Seed of the choice and of the augmentation.

        Returns:
            Images `[count, height, width, channels]` float32, normalized, and labels `[count]` int64; sorted by class
            if `balanced`.

        Raises:
            ConfigError: There are not enough images, or not enough of a class.

        Reference:
            Chen et al., Peek-a-Boo (ICLR 2022), the authors' `main_cifar.py`: 100 images of any class, augmented.
        """
        (batch,) = self.prune_batches(count, count, balanced=balanced, seed=seed)
        return batch

    def prune_batches(self, count: int, batch_size: int, *, balanced: bool = False, seed: int = 0) -> "PruneBatches":
        """Draws the same images as `prune_images`, which are read batch by batch.

        Args:
            count: How many images.
            batch_size: Images per batch; the last batch may be shorter.
            balanced: Whether to draw the same number from each class. Every batch then has about as many images of each
                class, and is sorted by class; if there are more classes than images in a batch, the classes take turns.
            seed: Seed of the choice and of the augmentation.

        Returns:
            The batches, as often as they are iterated over.

        Raises:
            ConfigError: There are not enough images, or not enough of a class.
        """
        positions = prune_positions(
            self.train_examples, self.num_classes, self.train_labels_at, count, balanced=balanced, seed=seed
        )
        return PruneBatches(self, positions, batch_size, by_class=balanced, seed=seed)

    def notes(self) -> tuple[str, ...]:
        """Returns lines for the user after the data were used, such as how many images could not be read."""
        return ()

    def steps_per_epoch(self, batch_size: int) -> int:
        """Returns the number of training batches in an epoch, without a remainder that fills no batch.

        Args:
            batch_size: Images per batch.

        Raises:
            ConfigError: The training images do not fill one batch.
        """
        if not 1 <= whole_number("batch_size", batch_size, at_least=0) <= self.train_examples:
            raise ConfigError(
                f"expected a batch size from 1 to the {self.train_examples} training images, received {batch_size}"
            )
        return self.train_examples // batch_size


@dataclass(frozen=True, eq=False)
class PruneBatches:
    """Training images to prune by, each augmented once; iterating reads the images again.

    An image and its augmentation do not depend on the batch size.

    Attributes:
        data: The data set.
        positions: `[images]`, int64, of the images in file order.
        batch_size: Images per batch; the last batch may be shorter.
        by_class: Whether to sort each batch by class.
        seed: Seed of the augmentation.
    """

    data: ImageDataset
    positions: np.ndarray
    batch_size: int
    by_class: bool = False
    seed: int = 0

    __repr__ = short_repr

    def __post_init__(self) -> None:
        instance("data", self.data, ImageDataset, IMAGES)
        object.__setattr__(self, "positions", checked_positions(self.positions, self.data.train_examples))
        object.__setattr__(self, "batch_size", whole_number("batch_size", self.batch_size))
        object.__setattr__(self, "by_class", truth("by_class", self.by_class))
        object.__setattr__(self, "seed", seed_number(self.seed))

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Iterates over images `[batch, height, width, channels]` float32, normalized, and labels `[batch]` int64."""
        at_once = min(len(self.positions), _READ_AT_ONCE)
        images, labels = np.empty([0, *self.data.input_shape], np.float32), np.empty([0], np.int64)
        for start in range(0, len(self.positions), at_once):
            block = self._read(start // at_once, np.resize(self.positions[start:], at_once))
            left = len(self.positions) - start
            images = np.concatenate([images, block["images"][:left]])
            labels = np.concatenate([labels, block["labels"][:left]])
            while len(labels) >= self.batch_size or (len(labels) and left <= at_once):
                order = np.arange(min(self.batch_size, len(labels)))
                if self.by_class:
                    order = np.argsort(labels[order], kind="stable")
                yield images[order], labels[order]
                images, labels = images[self.batch_size :], labels[self.batch_size :]

    def _read(self, number: int, positions: np.ndarray) -> dict[str, np.ndarray]:
        batch = self._reader(tf.constant(number, tf.int64), tf.constant(positions, tf.int64))[1]
        return {name: values.numpy() for name, values in batch.items()}

    @cached_property
    def _reader(self) -> Reader:
        size = min(len(self.positions), _READ_AT_ONCE)
        return self.data.training_reader(BatchRequest(batch_size=size, epochs=1, seed=self.seed))


def checked_positions(positions: Any, examples: int) -> np.ndarray:
    """Returns positions of images as an int64 array; raises `ConfigError` unless they are such.

    Args:
        positions: What is given.
        examples: How many images there are.
    """
    found = checked_array(positions, "positions")
    if found.size == 0 and found.ndim == 1:
        return np.zeros(0, np.int64)
    if found.ndim != 1 or found.dtype.kind not in "iu" or not 0 <= found.min() <= found.max() < examples:
        raise ConfigError(
            f"positions: expected a list of whole numbers from 0 to {examples - 1}, received {described(positions)}"
        )
    return found.astype(np.int64)


def _knowledge_rows(knowledge: Knowledge, count: int) -> Callable[[tf.Tensor, Batch], Batch]:
    """Returns a function that adds the rows of a memory bank at positions `[count]` to a batch."""

    def read(positions: np.ndarray) -> np.ndarray:
        return np.asarray(knowledge[positions], np.float32)

    def add(positions: tf.Tensor, batch: Batch) -> Batch:
        rows = tf.numpy_function(read, [positions], tf.float32, stateful=False)
        return batch | {"knowledge": tf.ensure_shape(rows, [count, *knowledge.shape[1:]])}

    return add


def shuffled_steps(examples: int, request: BatchRequest) -> tf.data.Dataset:
    """Returns the number of every step and the examples of its batch.

    The permutation of an epoch depends only on the seed and the epoch, so a sequence can start at any step without
    computing the steps before it.

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
        labels: Returns the labels of positions; only called if `balanced`, and only as far as needed.
        count: Number of images to draw.
        balanced: Whether to draw the same number from each class; the classes of a remainder are drawn, too.
        seed: Seed of the draws.

    Returns:
        `[count]`, int64, in random order; if `balanced`, one image of each class after the other, again and again.

    Raises:
        ConfigError: There are not enough images, or not enough of a class.
    """
    balanced, seed = truth("balanced", balanced), seed_number(seed)
    if whole_number("count", count) > examples:
        raise ConfigError(f"expected 1 to {examples} images to prune by, as there are to train on, received {count}")
    generator = np.random.default_rng(seed)
    order = generator.permutation(examples)
    if not balanced:
        return order[:count]
    wanted = np.full(num_classes, count // num_classes)
    wanted[generator.permutation(num_classes)[: count % num_classes]] += 1
    left = wanted.copy()
    rounds: list[list[tuple[int, int]]] = [[] for _ in range(wanted.max())]  # the k-th images of all classes
    for start in range(0, examples, _LOOKED_UP_AT_ONCE):
        some = order[start : start + _LOOKED_UP_AT_ONCE]
        for position, label in zip(some, labels(some), strict=True):
            if left[label]:
                rounds[wanted[label] - left[label]].append((label, position))
                left[label] -= 1
        if not left.any():
            return np.array([position for some in rounds for _, position in sorted(some)], np.int64)
    label = int(np.argmax(left))
    raise ConfigError(
        f"expected {wanted[label]} training images in every class to prune by, found {wanted[label] - left[label]} in "
        f"class {label}; use fewer images, or draw without `balanced`"
    )
