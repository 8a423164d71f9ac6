"""How images from the disk look in a batch."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfprune.data.image_decoding import decode_window
from tfprune.data.random_window import DRAWS as WINDOW_DRAWS
from tfprune.data.random_window import random_window

DRAWS = WINDOW_DRAWS + 1


@dataclass(frozen=True)
class Appearance:
    """Size, random crop and normalisation.

    Args:
        size: Pixels of each side.
        scale: Limits of the area of a random crop, see `random_window`.
        flip: Whether to mirror half of the training images.
        mean: Subtracted per channel, on the scale 0 .. 1.
        std: Divided by per channel, after the mean.
    """

    size: int
    scale: tuple[float, float]
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def crop(self, contents: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """A random part of an image, perhaps mirrored.

        Args:
            contents: The encoded image.
            draws: Uniform in 0 .. 1, `[DRAWS]`.

        Returns:
            `[size, size, 3]`, float32 on the scale 0 .. 255.
        """

        def window(size: tf.Tensor) -> tf.Tensor:
            return random_window(size, draws[:WINDOW_DRAWS], scale=self.scale)

        image = decode_window(contents, window, self.size)
        if not self.flip:
            return image
        # Ten times as fast as a choice between the image and `image[:, ::-1]`.
        return tf.cond(draws[WINDOW_DRAWS] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)

    def normalized(self, images: tf.Tensor) -> tf.Tensor:
        """Images `[..., size, size, 3]`, float32 on the scale 0 .. 255, as a network sees them."""
        # By rows, as broadcasting over the three channels takes four times as long.
        mean, std = (np.tile(255 * np.asarray(each, np.float32), self.size) for each in (self.mean, self.std))
        rows = tf.reshape(images, [*images.shape[:-2], images.shape[-2] * images.shape[-1]])
        return tf.reshape((rows - mean) * (1 / std), images.shape)
