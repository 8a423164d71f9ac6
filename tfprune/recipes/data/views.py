"""Views: changed versions of augmented images, before they are normalized.

A `View` changes each image by draws from a seed of that image, so the changed image is the same in the whole batch, in
the share of one of several workers, and by itself, in memory or read from disk. `GaussianNoise` is a view; `AugMix` has
its own module.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import tensorflow as tf

from tfprune.arguments import number


class View(ABC):
    """Changes images, each by draws from its own seed."""

    @abstractmethod
    def __call__(self, images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Changes each image by its own draws.

        Args:
            images: `[images, height, width, channels]`, float32 on the scale 0 .. 255.
            seeds: `[images, 2]`, int32.

        Returns:
            Images of the same shape and type, on the same scale.
        """


@dataclass(frozen=True)
class GaussianNoise(View):
    """Adds Gaussian noise to some images and clips them.

    Args:
        deviation: Standard deviation on the scale 0 .. 1.
        clean: Probability that an image is left unchanged.

    Raises:
        ConfigError: A number is out of range.

    Example:
        >>> GaussianNoise(0.2)(tf.zeros([2, 8, 8, 3]), tf.constant([[0, 1], [0, 2]])).shape
        TensorShape([2, 8, 8, 3])
    """

    deviation: float = 0.1
    clean: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "deviation", number("deviation", self.deviation, above=0))
        object.__setattr__(self, "clean", number("clean", self.clean, at_least=0, at_most=1))

    def __call__(self, images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Changes each image by its own draws, see `View`."""

        def changed(given: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            image, seed = given
            noise, chance = tf.unstack(tf.random.split(seed, 2))
            noisy = image + tf.random.stateless_normal(tf.shape(image), noise, 0.0, 255.0 * self.deviation)
            unchanged = tf.random.stateless_uniform([], chance) < self.clean
            return tf.where(unchanged, image, tf.clip_by_value(noisy, 0.0, 255.0))

        # TensorFlow has no stateless operation with one seed per image.
        return tf.map_fn(changed, (images, seeds), fn_output_signature=tf.TensorSpec(images.shape[1:], tf.float32))


def view_seeds(seed: int, step: tf.Tensor, batch_size: int, views: int) -> tf.Tensor:
    """Returns the seeds of the views of a batch.

    Args:
        seed: Seed of the training.
        step: Step of the batch, counted over all epochs.
        batch_size: Images of the whole batch.
        views: As in `shown_views`.

    Returns:
        `[batch_size, changed views, 2]`, int32.
    """
    key = tf.random.fold_in(tf.constant([seed, 2], tf.int64), step)
    return tf.random.stateless_uniform([batch_size, max(views - 1, 1), 2], key, None, None, tf.int32)


def shown_views(view: View, images: tf.Tensor, seeds: tf.Tensor, views: int) -> tf.Tensor:
    """Returns the versions of each image in a batch.

    Args:
        view: Changes the images.
        images: `[images, height, width, channels]`, float32 on the scale 0 .. 255.
        seeds: `[images, changed views, 2]`, from `view_seeds`.
        views: 1 for the changed image only; otherwise the image itself is first, before `views - 1` changed ones.

    Returns:
        `[images, views, height, width, channels]`, float32 on the same scale.
    """
    changed = seeds.shape[1]
    several = view(tf.repeat(images, changed, 0), tf.reshape(seeds, [-1, 2]))
    several = tf.reshape(several, [-1, changed, *images.shape[1:]])
    return several if views == 1 else tf.concat([images[:, None], several], 1)
