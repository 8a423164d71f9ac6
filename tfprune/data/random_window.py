"""The part of an image that a random resized crop shows."""

import math

import tensorflow as tf

_TRIES = 10
DRAWS = 2 * _TRIES + 2


def random_window(
    size: tf.Tensor,
    draws: tf.Tensor,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tf.Tensor:
    """A rectangle of random area, shape and place.

    Of ten tries the first that fits into the image is taken; if none does, the largest part in the middle whose ratio
    is allowed.

    Args:
        size: Height and width of the image, `[2]`, int32.
        draws: Uniform in 0 .. 1, `[DRAWS]`: areas, ratios, place.
        scale: Limits of the area as a fraction of the image's, drawn uniformly.
        ratio: Limits of width / height, whose logarithm is drawn uniformly.

    Returns:
        Top, left, height and width, `[4]`, int32.

    Reference:
        Szegedy et al., Going Deeper with Convolutions (CVPR 2015), section 6, in the form of torchvision's
        `RandomResizedCrop`, which the originals use.
    """
    height, width = tf.cast(size[0], tf.float32), tf.cast(size[1], tf.float32)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    areas = height * width * (scale[0] + (scale[1] - scale[0]) * draws[:_TRIES])
    ratios = tf.exp(low + (high - low) * draws[_TRIES : 2 * _TRIES])
    heights, widths = tf.round(tf.sqrt(areas / ratios)), tf.round(tf.sqrt(areas * ratios))
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first = tf.argmax(fits)
    shape = tf.where(fits[first], tf.stack([heights[first], widths[first]]), _largest(height, width, ratio))
    free = tf.stack([height, width]) - shape
    place = tf.where(fits[first], tf.floor(draws[2 * _TRIES :] * (free + 1)), tf.floor(free / 2))
    return tf.cast(tf.concat([tf.minimum(place, free), shape], 0), tf.int32)


def _largest(height: tf.Tensor, width: tf.Tensor, ratio: tuple[float, float]) -> tf.Tensor:
    """Height and width of the largest part whose ratio is allowed."""
    return tf.stack(
        [
            tf.minimum(height, tf.maximum(tf.round(width / ratio[0]), 1)),
            tf.minimum(width, tf.maximum(tf.round(height * ratio[1]), 1)),
        ]
    )
