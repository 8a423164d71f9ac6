"""Batches as they lie in the file, to evaluate with."""

import numpy as np
import tensorflow as tf

from tfprune.data.image_arrays import ImageArrays


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
