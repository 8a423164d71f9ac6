"""Random flips, crops and colours for a whole batch, as pure functions of a seed.

The original drew one crop offset and one colour factor for a whole batch, as it gave the batch to operations made for
one image. Here every image, and every view of it, has draws of its own.
"""

from collections.abc import Sequence

import tensorflow as tf

_FACTORS = (0.8, 1.2)


def random_positions(
    seed: tf.Tensor, *, batch: int, views: int, height: int, width: int, padding: int, flip: bool
) -> tf.Tensor:
    """Which source pixel each pixel of a flipped, reflect-padded and cropped image comes from.

    Flipping, padding and cropping only move pixels, so one gather does all three.

    Args:
        seed: `[2]`, the seed of the draws.
        batch: Number of images.
        views: Independent draws per image.
        height: Rows of an image, more than `padding`.
        width: Columns of an image, more than `padding`.
        padding: Pixels added by reflection on each side before the crop back to `[height, width]`.
        flip: Whether to mirror the columns of half the images.

    Returns:
        Positions `row * width + column` in the source image, `[batch, views, height, width]`, int32.
    """
    seeds = tf.random.split(seed, 3)
    shape = [batch, views, 1]
    offsets = [
        tf.random.stateless_uniform(shape, seeds[axis], 0, 2 * padding + 1, tf.int32) - padding for axis in range(2)
    ]
    rows = _reflected(offsets[0] + tf.range(height), height)
    columns = _reflected(offsets[1] + tf.range(width), width)
    if flip:
        mirrored = tf.random.stateless_uniform(shape, seeds[2]) < 0.5
        columns = tf.where(mirrored, width - 1 - columns, columns)
    return rows[..., :, None] * width + columns[..., None, :]


def jitter_colors(
    images: tf.Tensor, means: tf.Tensor, seed: tf.Tensor, *, rows: Sequence[int] | None = None, batch: int | None = None
) -> tf.Tensor:
    """Changes contrast, then saturation, each by a factor of its own per image from 0.8 to 1.2.

    The original also adds up to 0.2 to the brightness; on its scale of 0 .. 255 that shows nowhere, so it is left
    out. Values are not clipped. Grey images have no saturation to change.

    Args:
        images: `[batch, views, height, width, channels]`, float32 on the scale 0 .. 255.
        means: Mean of each channel over the whole source image, `[batch, 1, 1, 1, channels]`: contrast changes the
            distance to it.
        seed: `[2]`, the seed of the draws.
        rows: Places of these images within a batch. Default: they are the batch.
        batch: Images of that batch, for all of which there are draws.

    Returns:
        Images of the same shape.

    Reference:
        Lee & Song, EKG (ECCV 2022), the authors' `dataloader/CIFAR.py`.
    """
    seeds = tf.random.split(seed, 2)
    shape = [images.shape[0] if batch is None else batch, images.shape[1], 1, 1]
    contrast, saturation = (tf.random.stateless_uniform(shape, each, *_FACTORS) for each in tf.unstack(seeds))
    if rows is not None:
        contrast, saturation = tf.gather(contrast, rows), tf.gather(saturation, rows)
    pairs = zip(tf.unstack(images, axis=-1), tf.unstack(means, axis=-1), strict=True)
    channels = [channel * contrast + mean * (1 - contrast) for channel, mean in pairs]
    return _interleaved(_saturated(channels, saturation) if len(channels) == 3 else channels)


def scale_saturation(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiplies the saturation of red-green-blue images.

    In the hue-saturation-value model the largest channel is the value and the saturation is (largest - smallest) /
    largest, at most 1. So each channel's distance to the largest is multiplied, as far as that limit allows.

    Args:
        images: `[..., height, width, 3]`, float32.
        factor: Of all images.

    Returns:
        What `tf.image.adjust_saturation` gives.
    """
    return _interleaved(_saturated(tf.unstack(images, axis=-1), factor))


def _saturated(channels: Sequence[tf.Tensor], factor: tf.Tensor) -> list[tf.Tensor]:
    """The channels `[..., height, width]` after `scale_saturation`, whose factor is broadcast over them."""
    red, green, blue = channels
    largest = tf.maximum(tf.maximum(red, green), blue)
    spread = largest - tf.minimum(tf.minimum(red, green), blue)
    factor = tf.minimum(factor, tf.math.divide_no_nan(tf.maximum(largest, 0.0), spread))
    kept = largest * (1 - factor)
    return [kept + factor * channel for channel in channels]


def _interleaved(channels: Sequence[tf.Tensor]) -> tf.Tensor:
    """Channels `[...]` as images `[..., channels]`; twice as fast as stacking them on the last axis."""
    stacked = tf.stack(channels)
    return tf.transpose(stacked, [*range(1, len(stacked.shape)), 0])


def _reflected(positions: tf.Tensor, size: int) -> tf.Tensor:
    """Positions beyond either end, turned back at the outermost pixel, which is not repeated."""
    return size - 1 - tf.abs(size - 1 - tf.abs(positions))
