"""Batches of images and of views of them that are harder to see: mixed by AugMix, or noisy."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfprune.data.augmentation import random_positions
from tfprune.data.augmix import AugMix
from tfprune.data.image_arrays import ImageArrays
from tfprune.data.shuffled_steps import shuffled_steps
from tfprune.data.step_checks import check_steps
from tfprune.errors import ConfigError


@dataclass(frozen=True)
class GaussianNoise:
    """Adds noise to some images, and clips.

    Args:
        deviation: Standard deviation on the scale 0 .. 1.
        clean: Chance that an image stays as it is.

    Raises:
        ConfigError: A number is out of its range.
    """

    deviation: float = 0.1
    clean: float = 0.0

    def __post_init__(self) -> None:
        if not self.deviation > 0:
            raise ConfigError(f"deviation: expected a number above 0, received {self.deviation}; mend it")
        if not 0 <= self.clean <= 1:
            raise ConfigError(f"clean: expected a chance from 0 to 1, received {self.clean}; mend it")

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Changes images.

        Args:
            images: `[batch, height, width, channels]`, float32 on the scale 0 .. 255.
            seed: `[2]`.

        Returns:
            Images on the same scale.
        """
        seeds = tf.random.split(seed, 2)
        noisy = images + tf.random.stateless_normal(tf.shape(images), seeds[0], 0.0, 255.0 * self.deviation)
        chances = tf.random.stateless_uniform([tf.shape(images)[0], 1, 1, 1], seeds[1])
        return tf.where(chances < self.clean, images, tf.clip_by_value(noisy, 0.0, 255.0))


def view_batches(
    data: ImageArrays,
    *,
    view: AugMix | GaussianNoise,
    batch_size: int,
    epochs: int,
    seed: int,
    start_step: int = 0,
    views: int = 1,
) -> tf.data.Dataset:
    """Shuffled batches of flipped, cropped, changed and normalised training images.

    Every batch is a pure function of the seed and its step, as with `training_batches`.

    Args:
        data: The data set.
        view: What changes an image.
        batch_size: Images per batch; the remainder of an epoch is left out.
        epochs: Epochs of the whole sequence.
        seed: Drives order and changes.
        start_step: Step, counted over all epochs, to begin at.
        views: 1 for changed images; with more, the flipped and cropped image itself comes first and `views - 1` changed
            ones after it, as `tfprune.training.Consistency` wants it with 3.

    Returns:
        Batches `{"images": [batch, (views,) height, width, channels] float32, "labels": [batch] int64}`.

    Raises:
        ConfigError: A number is out of range.
    """
    examples = len(data.train_labels)
    check_steps(examples, batch_size=batch_size, epochs=epochs, views=views, start_step=start_step)
    height, width, channels = data.input_shape
    with tf.device("CPU:0"):
        source = tf.constant(data.train_images.reshape(-1, channels))
        labels = tf.constant(data.train_labels, tf.int64)
    shape = [batch_size, height, width, channels]

    def batch(step: tf.Tensor, positions: tf.Tensor) -> dict[str, tf.Tensor]:
        keys = tf.random.split(tf.random.fold_in(tf.constant([seed, 2], tf.int64), step), 1 + max(views - 1, 1))
        moved = random_positions(
            keys[0], batch=batch_size, views=1, height=height, width=width, padding=data.crop_padding, flip=data.flip
        )
        first = positions[:, None, None] * (height * width)
        plain = tf.gather(source, first + tf.cast(moved[:, 0], tf.int64))
        changed = [_changed(view, plain, keys[index + 1], shape) for index in range(max(views - 1, 1))]
        stacked = changed[0] if views == 1 else tf.stack([tf.cast(plain, tf.float32), *changed], 1)
        return {"images": data.normalize_tensor(stacked), "labels": tf.gather(labels, positions)}

    steps = shuffled_steps(examples, batch_size=batch_size, epochs=epochs, seed=seed, start_step=start_step)
    return steps.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def _changed(view: AugMix | GaussianNoise, images: tf.Tensor, seed: tf.Tensor, shape: list[int]) -> tf.Tensor:
    """One changed view of a batch of bytes, float32 on the scale 0 .. 255."""
    if isinstance(view, GaussianNoise):
        return view(tf.cast(images, tf.float32), seed)

    def mix(images: np.ndarray, seed: np.ndarray) -> np.ndarray:
        random = np.random.RandomState(seed.astype(np.int64).view(np.uint32))
        return np.stack([view(image, random) for image in images])

    return tf.ensure_shape(tf.numpy_function(mix, [images, seed], tf.float32, stateful=False), shape)
