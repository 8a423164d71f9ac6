"""Views of images: what shows a training image in a way that is harder to recognise."""

from abc import ABC, abstractmethod

import tensorflow as tf


class View(ABC):
    """Changes images.

    What it draws for an image follows from that image's seed alone, so an image looks the same in the whole batch, in
    the share of one of several workers, and by itself.
    """

    @abstractmethod
    def __call__(self, images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Changes each image by draws of its own.

        Args:
            images: `[images, height, width, channels]`, float32 on the scale 0 .. 255.
            seeds: `[images, 2]`, int32.

        Returns:
            Images of the same shape and type, on the same scale.
        """


def view_seeds(seed: int, step: tf.Tensor, batch_size: int, views: int) -> tf.Tensor:
    """Seeds of the views of a batch.

    Args:
        seed: That of the training.
        step: Step of the batch, counted over all epochs.
        batch_size: Images of the whole batch.
        views: As for `shown_views`.

    Returns:
        `[batch_size, changed views, 2]`, int32.
    """
    key = tf.random.fold_in(tf.constant([seed, 2], tf.int64), step)
    return tf.random.stateless_uniform([batch_size, max(views - 1, 1), 2], key, None, None, tf.int32)


def shown_views(view: View, images: tf.Tensor, seeds: tf.Tensor, views: int) -> tf.Tensor:
    """What is shown of each image.

    Args:
        view: What changes it.
        images: `[images, height, width, channels]`, float32 on the scale 0 .. 255.
        seeds: `[images, changed views, 2]`, of `view_seeds`.
        views: 1 for the changed image; with more, the image itself comes first and `views - 1` changed ones after it.

    Returns:
        `[images, views, height, width, channels]`, float32 on the same scale.
    """
    changed = seeds.shape[1]
    several = view(tf.repeat(images, changed, 0), tf.reshape(seeds, [-1, 2]))
    several = tf.reshape(several, [-1, changed, *images.shape[1:]])
    return several if views == 1 else tf.concat([images[:, None], several], 1)
