"""Random flips, crops and colors, as pure functions of a seed.

Images in memory are moved (`random_positions`) and recolored (`jitter_colors`) a whole batch at a time; images that are
read from files are cropped one by one (`Appearance`). Every image, and every view of it, has its own draws: the code of
the EKG authors drew one crop offset and one color factor for a whole batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfprune.recipes.data.decoding import decode_window

_FACTORS = (0.8, 1.2)
_TRIES = 10
WINDOW_DRAWS = 2 * _TRIES + 2
DRAWS = WINDOW_DRAWS + 1


def random_positions(
    seed: tf.Tensor, *, batch: int, views: int, height: int, width: int, padding: int, flip: bool
) -> tf.Tensor:
    """Returns which source pixel each pixel of a flipped, reflect-padded and cropped image comes from.

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
    """Changes contrast, then saturation, each by a factor from 0.8 to 1.2 that is drawn for each image.

    The original also adds up to 0.2 to the brightness; on its scale of 0 .. 255 this has no visible effect, so it
    is left out. Values are not clipped. Gray images have no saturation to change.

    Args:
        images: `[batch, views, height, width, channels]`, float32 on the scale 0 .. 255.
        means: Mean of each channel over the whole source image, `[batch, 1, 1, 1, channels]`: contrast changes the
            distance to it.
        seed: `[2]`, the seed of the draws.
        rows: Positions of these images within a batch. Default: they are the batch.
        batch: Number of images of that batch, for all of which there are draws.

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
        factor: Factor of all images.

    Returns:
        The same as `tf.image.adjust_saturation`.
    """
    return _interleaved(_saturated(tf.unstack(images, axis=-1), factor))


def _saturated(channels: Sequence[tf.Tensor], factor: tf.Tensor) -> list[tf.Tensor]:
    """Scales the saturation of channels `[..., height, width]`; the factor is broadcast over them."""
    red, green, blue = channels
    largest = tf.maximum(tf.maximum(red, green), blue)
    spread = largest - tf.minimum(tf.minimum(red, green), blue)
    factor = tf.minimum(factor, tf.math.divide_no_nan(tf.maximum(largest, 0.0), spread))
    kept = largest * (1 - factor)
    return [kept + factor * channel for channel in channels]


def _interleaved(channels: Sequence[tf.Tensor]) -> tf.Tensor:
    """Joins channels `[...]` to images `[..., channels]`; twice as fast as stacking them on the last axis."""
    stacked = tf.stack(channels)
    return tf.transpose(stacked, [*range(1, len(stacked.shape)), 0])


def _reflected(positions: tf.Tensor, size: int) -> tf.Tensor:
    """Reflects positions beyond either end at the outermost pixel, which is not repeated."""
    return size - 1 - tf.abs(size - 1 - tf.abs(positions))


def random_window(
    size: tf.Tensor,
    draws: tf.Tensor,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tf.Tensor:
    """Draws a rectangle of random area, shape and position.

    Takes the first of ten tries that fits into the image; if none does, the largest centered part whose ratio is
    allowed.

    Args:
        size: Height and width of the image, `[2]`, int32.
        draws: Uniform in 0 .. 1, `[WINDOW_DRAWS]`: areas, ratios, place.
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
    """Returns height and width of the largest part whose ratio is allowed."""
    return tf.stack(
        [
            tf.minimum(height, tf.maximum(tf.round(width / ratio[0]), 1)),
            tf.minimum(width, tf.maximum(tf.round(height * ratio[1]), 1)),
        ]
    )


@dataclass(frozen=True)
class Appearance:
    """Size, random crop and normalization of images that are read from files.

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
        """Decodes a random part of an image, perhaps mirrored.

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
        """Normalizes images as a model expects them.

        Args:
            images: `[..., size, size, 3]`, float32 on the scale 0 .. 255.

        Returns:
            Images of the same shape.
        """
        # By rows, as broadcasting over the three channels takes four times as long.
        mean, std = (np.tile(255 * np.asarray(each, np.float32), self.size) for each in (self.mean, self.std))
        rows = tf.reshape(images, [*images.shape[:-2], images.shape[-2] * images.shape[-1]])
        return tf.reshape((rows - mean) * (1 / std), images.shape)
