"""Augmented batches to train on, the same ones whether a run was interrupted or not."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.recipes.data.augmentation import jitter_colors, random_positions
from tfprune.recipes.data.dataset import ImageArrays, Knowledge, View, check_rows, check_steps, shown_views, view_seeds
from tfprune.recipes.data.knowledge import check_knowledge, knowledge_rows

_Batch = dict[str, tf.Tensor]
_LOOKED_UP_AT_ONCE = 1024


def training_batches(
    data: ImageArrays,
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
    """Shuffled, augmented, normalised batches of the training images.

    Every batch is a pure function of the seed and its step: beginning at step k gives, bit for bit, what an unbroken
    sequence gives from step k on. The images stay in memory as bytes; a batch is one gather from them.

    Args:
        data: The data set.
        batch_size: Images per batch; the remainder of an epoch is left out.
        epochs: Epochs of the whole sequence, the skipped steps included.
        seed: Drives order and augmentation.
        start_step: Step, counted over all epochs, to begin at.
        views: With 2 or more, each image comes in that many views, stacked on axis 1. They are augmented independently;
            with `view`, the first is the augmented image itself, and the others are what `view` makes of it, as
            `tfprune.recipes.training.Consistency` wants it with 3.
        view: What changes the augmented images, such as `AugMix()`.
        color_jitter: Whether to change contrast and saturation too (see `jitter_colors`).
        knowledge: Rows `[train, classes, teachers]` that belong to the training images: an array or `ShardedRows`; may
            be memory-mapped, as only the rows of each batch are read.
        rows: Places within each batch whose images are wanted, in this order, such as the share of one of several
            workers; they look as they do in the whole batch. Default: all.

    Returns:
        Batches `{"images": [batch, (views,) height, width, channels] float32, "labels": [batch] int64}` and, with
        `knowledge`, `"knowledge": [batch, classes, teachers] float32`.

    Raises:
        ConfigError: A number is out of range, or `knowledge` does not belong to the training images.
    """
    images = len(data.train_labels)
    check_steps(images, batch_size=batch_size, epochs=epochs, views=views, start_step=start_step)
    check_knowledge(knowledge, (images, data.num_classes), data.name)
    check_rows(rows, batch_size)
    gather = augmented_batch(
        data, batch_size=batch_size, seed=seed, views=views, view=view, color_jitter=color_jitter, rows=rows
    )
    dataset = shuffled_steps(images, batch_size=batch_size, epochs=epochs, seed=seed, start_step=start_step).map(
        gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    if knowledge is not None:
        dataset = dataset.map(knowledge_rows(knowledge, batch_size if rows is None else len(rows)))
    else:
        dataset = dataset.map(lambda positions, batch: batch)
    return dataset.prefetch(tf.data.AUTOTUNE)


def fixed_batches(
    images: np.ndarray,
    labels: np.ndarray,
    data: ImageArrays,
    batch_size: int,
    drop_remainder: bool = False,
    start_step: int = 0,
) -> tf.data.Dataset:
    """Normalised batches in the given order, without augmentation.

    Args:
        images: `[images, height, width, channels]`, uint8.
        labels: `[images]`, int64.
        data: The data set the images belong to: it knows how to normalise them.
        batch_size: Images per batch.
        drop_remainder: Whether to leave out a last, shorter batch.
        start_step: Batch to begin with.

    Returns:
        Batches `{"images": [batch, height, width, channels] float32, "labels": [batch] int64}`.
    """
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


def shuffled_steps(examples: int, *, batch_size: int, epochs: int, seed: int, start_step: int = 0) -> tf.data.Dataset:
    """For every step its number and the examples of its batch.

    Each epoch has a permutation that depends on the seed and the epoch alone, so a sequence can begin at any step,
    without anything being produced for the steps before. The remainder that fills no batch is left out.

    Args:
        examples: Number of training examples.
        batch_size: Examples per step.
        epochs: Epochs of the whole sequence.
        seed: Seed of the permutations.
        start_step: Step, counted over all epochs, to begin at.

    Returns:
        Elements `(step, positions)`: an int64 scalar and `[batch_size]`, int64.
    """
    per_epoch = examples // batch_size

    def epoch_steps(epoch: tf.Tensor) -> tf.data.Dataset:
        key = tf.random.fold_in(tf.constant([seed, 0], tf.int64), epoch)
        order = tf.random.experimental.stateless_shuffle(tf.range(examples, dtype=tf.int64), key)
        skipped = tf.maximum(start_step - epoch * per_epoch, 0)
        batches = tf.reshape(order[: per_epoch * batch_size], [per_epoch, batch_size])[skipped:]
        steps = tf.range(epoch * per_epoch + skipped, (epoch + 1) * per_epoch)
        return tf.data.Dataset.from_tensor_slices((steps, batches))

    steps = tf.data.Dataset.range(start_step // per_epoch, epochs).flat_map(epoch_steps)
    return steps.apply(tf.data.experimental.assert_cardinality(epochs * per_epoch - start_step))


def augmented_batch(
    data: ImageArrays,
    *,
    batch_size: int,
    seed: int,
    views: int = 1,
    view: View | None = None,
    color_jitter: bool = False,
    rows: Sequence[int] | None = None,
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, _Batch]]:
    """Makes the function that gathers, augments and normalises training images.

    Args:
        data: The data set.
        batch_size: Images per batch.
        seed: With the step, it decides all draws.
        views: With 2 or more, so many views of each image, stacked on axis 1; see `training_batches`.
        view: What changes images.
        color_jitter: Whether to change contrast and saturation too (see `jitter_colors`).
        rows: Places within the batch whose images are wanted, in this order. Default: all.

    Returns:
        From a step and positions `[batch]` in the training images to the positions and the batch.
    """
    height, width, channels = data.input_shape
    pixels = height * width
    with tf.device("CPU:0"):  # the data set runs there, and no accelerator should hold all images
        source = tf.constant(data.train_images.reshape(-1, channels))
        labels = tf.constant(data.train_labels, tf.int64)

    def batch(step: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, _Batch]:
        keys = tf.random.split(tf.random.fold_in(tf.constant([seed, 1], tf.int64), step), 2)
        moved = random_positions(
            keys[0],
            batch=batch_size,
            views=views if view is None else 1,
            height=height,
            width=width,
            padding=data.crop_padding,
            flip=data.flip,
        )
        if rows is not None:
            positions, moved = tf.gather(positions, rows), tf.gather(moved, rows)
        first = positions[:, None, None, None] * pixels
        images = tf.cast(tf.gather(source, first + tf.cast(moved, tf.int64)), tf.float32)
        if color_jitter:
            whole = tf.gather(tf.reshape(source, [-1, pixels, channels]), positions)
            means = tf.reduce_mean(tf.cast(whole, tf.float32), axis=1)[:, None, None, None, :]
            images = jitter_colors(images, means, keys[1], rows=rows, batch=batch_size)
        if view is not None:
            seeds = view_seeds(seed, step, batch_size, views)
            images = shown_views(view, images[:, 0], seeds if rows is None else tf.gather(seeds, rows), views)
        images = data.normalize_tensor(images if views > 1 else images[:, 0])
        return positions, {"images": images, "labels": tf.gather(labels, positions)}

    return batch


def prune_set(data: ImageArrays, count: int, *, balanced: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draws training images and augments each of them once, as for training.

    Args:
        data: The data set.
        count: How many images.
        balanced: Take equally many of each class, rather than any.
        seed: Seed of the choice and of the augmentation.

    Returns:
        Images `[count, height, width, channels]` float32, normalised, and labels `[count]` int64.

    Raises:
        ConfigError: There are not as many images, or not as many of a class.

    Reference:
        Chen et al., Peek-a-Boo (ICLR 2022), the authors' `main_cifar.py`: 100 images of any class, augmented.
    """
    positions = prune_positions(
        len(data.train_labels),
        data.num_classes,
        lambda some: data.train_labels[some],
        count,
        balanced=balanced,
        seed=seed,
    )
    draw = augmented_batch(data, batch_size=count, seed=seed)
    batch = draw(tf.constant(0, tf.int64), tf.constant(positions, tf.int64))[1]
    return batch["images"].numpy(), batch["labels"].numpy()


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
