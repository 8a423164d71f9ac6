"""Chosen training images of a data set in memory, flipped, cropped, coloured and normalised."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfprune.data.augmentation import jitter_colors, random_positions
from tfprune.data.image_arrays import ImageArrays
from tfprune.data.view import View, shown_views, view_seeds

_Batch = dict[str, tf.Tensor]


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
