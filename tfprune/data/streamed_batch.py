"""Chosen training images from the disk, cropped, flipped, coloured, changed and normalised."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfprune.data.appearance import DRAWS, Appearance
from tfprune.data.augmentation import jitter_colors
from tfprune.data.broken_images import BrokenImages
from tfprune.data.encoded_images import EncodedImages
from tfprune.data.readable_images import readable_images
from tfprune.data.view import View, shown_views, view_seeds

_Batch = dict[str, tf.Tensor]
_Draws = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def streamed_batch(
    images: EncodedImages,
    broken: BrokenImages,
    appearance: Appearance,
    *,
    batch_size: int,
    seed: int,
    views: int = 1,
    view: View | None = None,
    color_jitter: bool = False,
    rows: Sequence[int] | None = None,
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, _Batch]]:
    """Makes the function that reads, augments and normalises training images.

    Args:
        images: The training images.
        broken: Where those that cannot be read are noted.
        appearance: Size, crop and normalisation.
        batch_size: Images per batch.
        seed: With the step, it decides all draws.
        views: With 2 or more, so many views of each image, stacked on axis 1; see `training_batches`.
        view: What changes images.
        color_jitter: Whether to change contrast and saturation too (see `jitter_colors`).
        rows: Places within the batch whose images are wanted, in this order. Default: all.

    Returns:
        From a step and positions `[batch]` in the training images to the positions of those that are shown and the
        batch.
    """
    crops = views if view is None else 1
    count = batch_size if rows is None else len(rows)
    shape = (*([views] if views > 1 else []), appearance.size, appearance.size, 3)

    def decode(position: tf.Tensor, draw: _Draws) -> tuple[tf.Tensor, tf.Tensor]:
        contents, label = images.read(position)
        several = tf.stack([appearance.crop(contents, draw[0][crop]) for crop in range(crops)])
        if color_jitter:
            means = tf.reduce_mean(several, axis=(1, 2), keepdims=True)
            several = jitter_colors(several[None], means[None], draw[1])[0]
        return several if view is not None else finish(several), label

    def change(crop: tf.Tensor, draw: _Draws) -> tf.Tensor:
        assert view is not None
        return finish(shown_views(view, crop, draw[2][None], views)[0])

    def finish(several: tf.Tensor) -> tf.Tensor:
        return appearance.normalized(several if views > 1 else several[0])

    def batch(step: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, _Batch]:
        keys = tf.random.split(tf.random.fold_in(tf.constant([seed, 1], tf.int64), step), 2)
        draws = (
            tf.random.stateless_uniform([batch_size, crops, DRAWS], keys[0]),
            tf.random.stateless_uniform([batch_size, 2], keys[1], None, None, tf.int32),
            view_seeds(seed, step, batch_size, views),
        )
        if rows is not None:
            positions, draws = tf.nest.map_structure(lambda each: tf.gather(each, rows), (positions, draws))
        found = readable_images(decode, positions, draws, shape, broken, change=None if view is None else change)
        pixels, labels, shown = _filled_up(*found, count)
        # A memory bank's rows have to be those of the images that are shown.
        return tf.gather(positions, shown), {"images": tf.ensure_shape(pixels, [count, *shape]), "labels": labels}

    return batch


def _filled_up(
    images: tf.Tensor, labels: tf.Tensor, places: tf.Tensor, count: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A whole batch: in the place of an image that cannot be read stands the next one that can, or the last.

    Args:
        images: `[readable, ...]`.
        labels: `[readable]`.
        places: `[readable]`, int64, where in the batch they belong, increasing.
        count: Images of a batch.

    Returns:
        Images, labels and places, `[count, ...]` each.
    """
    some = tf.debugging.Assert(tf.size(places) > 0, ["no image of a training batch can be read"])
    with tf.control_dependencies([some]):
        chosen = tf.minimum(tf.searchsorted(places, tf.range(count, dtype=tf.int64)), len(places) - 1)
    images = tf.cond(tf.size(places) == count, lambda: images, lambda: tf.gather(images, chosen))
    chosen = tf.ensure_shape(chosen, [count])
    return images, tf.gather(labels, chosen), tf.gather(places, chosen)
