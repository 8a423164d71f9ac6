"""Augmented batches to train on, the same ones whether a run was interrupted or not."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfprune.data.augmentation import jitter_colors, random_positions
from tfprune.data.image_data import ImageData
from tfprune.data.shuffled_steps import shuffled_steps
from tfprune.errors import ConfigError

_Batch = dict[str, tf.Tensor]


def training_batches(
    data: ImageData,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    start_step: int = 0,
    views: int = 1,
    color_jitter: bool = False,
    knowledge: np.ndarray | None = None,
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
        views: With 2 or more, each image comes in that many independently augmented views, stacked on axis 1.
        color_jitter: Whether to change contrast and saturation too (see `jitter_colors`).
        knowledge: Rows `[train, classes, teachers]` that belong to the training images, float32; may be
            memory-mapped, as only the rows of each batch are read.

    Returns:
        Batches `{"images": [batch, (views,) height, width, channels] float32, "labels": [batch] int64}` and, with
        `knowledge`, `"knowledge": [batch, classes, teachers] float32`.

    Raises:
        ConfigError: A number is out of range, or `knowledge` does not belong to the training images.
    """
    _check(data, batch_size, epochs, start_step, views, knowledge)
    gather = _gather(data, batch_size=batch_size, views=views, color_jitter=color_jitter, seed=seed)
    dataset = shuffled_steps(
        len(data.train_labels), batch_size=batch_size, epochs=epochs, seed=seed, start_step=start_step
    ).map(gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if knowledge is not None:
        dataset = dataset.map(_knowledge_reader(knowledge, batch_size))
    else:
        dataset = dataset.map(lambda positions, batch: batch)
    return dataset.prefetch(tf.data.AUTOTUNE)


def _gather(
    data: ImageData, *, batch_size: int, views: int, color_jitter: bool, seed: int
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, _Batch]]:
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
            views=views,
            height=height,
            width=width,
            padding=data.crop_padding,
            flip=data.flip,
        )
        first = positions[:, None, None, None] * pixels
        images = tf.cast(tf.gather(source, first + tf.cast(moved, tf.int64)), tf.float32)
        if color_jitter:
            whole = tf.gather(tf.reshape(source, [-1, pixels, channels]), positions)
            means = tf.reduce_mean(tf.cast(whole, tf.float32), axis=1)[:, None, None, None, :]
            images = jitter_colors(images, means, keys[1])
        images = data.normalize_tensor(images if views > 1 else images[:, 0])
        return positions, {"images": images, "labels": tf.gather(labels, positions)}

    return batch


def _knowledge_reader(knowledge: np.ndarray, batch_size: int) -> Callable[[tf.Tensor, _Batch], _Batch]:
    def read(positions: np.ndarray) -> np.ndarray:
        return np.asarray(knowledge[positions], np.float32)

    def add(positions: tf.Tensor, batch: _Batch) -> _Batch:
        rows = tf.numpy_function(read, [positions], tf.float32, stateful=False)
        return batch | {"knowledge": tf.ensure_shape(rows, [batch_size, *knowledge.shape[1:]])}

    return add


def _check(
    data: ImageData, batch_size: int, epochs: int, start_step: int, views: int, knowledge: np.ndarray | None
) -> None:
    images = len(data.train_labels)
    if not 1 <= batch_size <= images:
        raise ConfigError(f"expected a batch size from 1 to the {images} training images, received {batch_size}")
    if epochs < 0 or views < 1:
        raise ConfigError(f"expected epochs >= 0 and views >= 1, received {epochs} and {views}")
    if not 0 <= start_step <= epochs * (images // batch_size):
        raise ConfigError(
            f"expected a start step from 0 to the {epochs * (images // batch_size)} steps of {epochs} epochs, "
            f"received {start_step}"
        )
    if knowledge is not None and (knowledge.ndim != 3 or knowledge.shape[:2] != (images, data.num_classes)):
        raise ConfigError(
            f"expected knowledge of shape [{images}, {data.num_classes}, teachers] for {data.name}, received "
            f"{list(knowledge.shape)}; build the memory bank from the same data set"
        )
