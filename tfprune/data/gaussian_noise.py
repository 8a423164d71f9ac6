"""Images with noise."""

from dataclasses import dataclass

import tensorflow as tf

from tfprune.data.view import View
from tfprune.errors import ConfigError


@dataclass(frozen=True)
class GaussianNoise(View):
    """Adds noise to some images, and clips.

    Args:
        deviation: Standard deviation on the scale 0 .. 1.
        clean: Chance that an image stays as it is.

    Raises:
        ConfigError: A number is out of its range.

    Example:
        >>> GaussianNoise(0.2)(tf.zeros([2, 8, 8, 3]), tf.constant([[0, 1], [0, 2]])).shape
        TensorShape([2, 8, 8, 3])
    """

    deviation: float = 0.1
    clean: float = 0.0

    def __post_init__(self) -> None:
        if not self.deviation > 0:
            raise ConfigError(f"deviation: expected a number above 0, received {self.deviation}; mend it")
        if not 0 <= self.clean <= 1:
            raise ConfigError(f"clean: expected a chance from 0 to 1, received {self.clean}; mend it")

    def __call__(self, images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Changes each image by draws of its own, see `View`."""

        def changed(given: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            image, seed = given
            noise, chance = tf.unstack(tf.random.split(seed, 2))
            noisy = image + tf.random.stateless_normal(tf.shape(image), noise, 0.0, 255.0 * self.deviation)
            stays = tf.random.stateless_uniform([], chance) < self.clean
            return tf.where(stays, image, tf.clip_by_value(noisy, 0.0, 255.0))

        # There is no stateless operation that takes a seed for each image.
        return tf.map_fn(changed, (images, seeds), fn_output_signature=tf.TensorSpec(images.shape[1:], tf.float32))
