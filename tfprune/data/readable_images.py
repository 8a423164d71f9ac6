"""Decoding many images at once, with an eye on those that cannot be read."""

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfprune.data.broken_images import BrokenImages

Decode = Callable[[tf.Tensor, Any], tuple[tf.Tensor, tf.Tensor]]
Change = Callable[[tf.Tensor, Any], tf.Tensor]


def readable_images(
    decode: Decode,
    positions: tf.Tensor,
    draws: Any,
    shape: tuple[int, ...],
    broken: BrokenImages,
    *,
    change: Change | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decodes images on all cores and leaves out those that fail.

    TensorFlow cannot catch an error within a graph, but a data set can ignore those of its elements; so there is a
    small data set here for each batch.

    Args:
        decode: From a position and its draws to an image and its label; errors here mean that it cannot be read.
        positions: Of the images, `[images]`, int64.
        draws: Tensors `[images, ...]`, perhaps in a structure.
        shape: Of an image that is given back.
        broken: Where those that fail are noted.
        change: From a decoded image and its draws to the image that is given back; an error here is one. Default: as it
            is decoded, in one stage, which takes 0.04 ms less.

    Returns:
        Images `[readable, *shape]` float32, labels `[readable]` int64, and the places among `positions` that they
        come from, `[readable]` int64, increasing.
    """
    count = tf.size(positions, tf.int64)

    def one(place: tf.Tensor, position: tf.Tensor, draw: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return (*decode(position, draw), place)

    def changed(image: tf.Tensor, label: tf.Tensor, place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        assert change is not None
        return change(image, tf.nest.map_structure(lambda each: each[place], draws)), label, place

    elements = tf.data.Dataset.from_tensor_slices((tf.range(count), positions, draws))
    good = elements.map(one, num_parallel_calls=_cores(), deterministic=True).ignore_errors()
    if change is not None:
        good = good.map(changed, num_parallel_calls=_cores(), deterministic=True)
    # One more, so that there is a batch even if nothing can be read.
    end = tf.data.Dataset.from_tensors((tf.zeros(shape), tf.zeros([], tf.int64), count))
    images, labels, places = good.concatenate(end).batch(count + 1).get_single_element()
    places = places[:-1]

    def note() -> tf.Tensor:
        missing = tf.tensor_scatter_nd_update(
            tf.ones([count], tf.bool), places[:, None], tf.zeros_like(places, tf.bool)
        )
        return tf.numpy_function(broken.add, [tf.boolean_mask(positions, missing)], tf.int64)

    tf.cond(tf.size(places, tf.int64) < count, note, lambda: tf.zeros([], tf.int64))
    return images[:-1], labels[:-1], places


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
