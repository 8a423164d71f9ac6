"""Decoding of image files to pixels of a given size.

`decode_window` decodes a part of an image, `decode_center` its center. `EncodedImages` is the interface of images in
files; `readable_images` decodes many of them on all cores and skips those that cannot be read, which `BrokenImages`
counts.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.recipes.data.image_files import jpeg_sides, within

_REDUCTIONS = (1, 2, 4, 8)
_MOST_ASPECT = 128
Decode = Callable[[tf.Tensor, Any], tuple[tf.Tensor, tf.Tensor]]
Change = Callable[[tf.Tensor, Any], tf.Tensor]


def decode_window(contents: tf.Tensor, window: Callable[[tf.Tensor], tf.Tensor], size: int) -> tf.Tensor:
    """Decodes a part of an image and scales it to a square.

    Of a JPEG image only the blocks of that part are decoded. If the part is at least 2 (4, 8) times as large as the
    result, it is decoded at 1/2 (1/4, 1/8) of the resolution, so that the bilinear scaling after it is always by less
    than 2; its position is then exact to a pixel of that resolution.

    Args:
        contents: The encoded image: JPEG, PNG, BMP or the first frame of a GIF, see `image_files.within`.
        window: A function from height and width of the image, `[2]`, int32, to top, left, height and width of the
            part, `[4]`, int32.
        size: Pixels of each side of the result.

    Returns:
        `[size, size, 3]`, float32 on the scale 0 .. 255.
    """

    def jpeg() -> tf.Tensor:
        place = window(jpeg_sides(contents))
        surplus = tf.minimum(place[2], place[3]) // size
        level = tf.reduce_sum(tf.cast(surplus >= tf.constant(_REDUCTIONS[1:]), tf.int32))

        def reduced(by: int) -> tf.Tensor:
            return tf.image.decode_and_crop_jpeg(contents, place // by, channels=3, ratio=by)

        return tf.switch_case(level, [lambda by=by: reduced(by) for by in _REDUCTIONS])

    def other() -> tf.Tensor:
        image = _decoded(within(contents))
        top, left, height, width = tf.unstack(window(tf.shape(image)[:2]))
        return image[top : top + height, left : left + width]

    part = tf.ensure_shape(tf.cond(tf.io.is_jpeg(contents), jpeg, other), [None, None, 3])
    return tf.ensure_shape(tf.image.resize(part, [size, size]), [size, size, 3])


def decode_center(contents: tf.Tensor, size: int, shorter_side: int) -> tf.Tensor:
    """Decodes an image, scales its shorter side, and crops the square at the center.

    No side may be 128 times as long as the other: the scaling would make an image larger than memory of a line.

    Args:
        contents: The encoded image, as in `decode_window`.
        size: Pixels of each side of the result.
        shorter_side: Pixels of the shorter side before the crop; at least `size`.

    Returns:
        `[size, size, 3]`, float32 on the scale 0 .. 255.
    """
    image = _decoded(within(contents))
    shape = tf.shape(image)[:2]
    shorter, longer = tf.reduce_min(shape), tf.reduce_max(shape)
    narrow = tf.debugging.Assert(
        longer // shorter < _MOST_ASPECT, [f"a side {_MOST_ASPECT} times as long as the other"]
    )
    with tf.control_dependencies([narrow]):
        scaled = shorter_side * shape // shorter
    image = tf.image.resize(image, scaled, antialias=True)
    top, left = tf.unstack((scaled - size + 1) // 2)
    return tf.ensure_shape(image[top : top + size, left : left + size], [size, size, 3])


def _decoded(contents: tf.Tensor) -> tf.Tensor:
    """Decodes a whole image to three channels, `[height, width, 3]`."""
    return tf.ensure_shape(tf.io.decode_image(contents, 3, expand_animations=False), [None, None, 3])


class EncodedImages(ABC):
    """Encoded images with labels of one part of a data set, training or test, with random access."""

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of images."""

    @abstractmethod
    def labels(self, positions: np.ndarray) -> np.ndarray:
        """Returns the labels of images.

        Args:
            positions: `[images]`, int64, in `0 .. len - 1`.

        Returns:
            `[images]`, int64.
        """

    @abstractmethod
    def read(self, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads one image in a `tf.data` pipeline.

        Args:
            position: Of the image, int64 scalar.

        Returns:
            Its encoded bytes (string scalar) and its label (int64 scalar).
        """

    @abstractmethod
    def describe(self, position: int) -> str:
        """Returns a description of an image for messages: its path, or its position in a file.

        Args:
            position: Of the image, in `0 .. len - 1`.
        """


class BrokenImages:
    """Counts images that cannot be read.

    Args:
        images: The images of a part of a data set.
        kind: `training` or `test`.
    """

    def __init__(self, images: EncodedImages, kind: str) -> None:
        self._images = images
        self._kind = kind
        self._positions: set[int] = set()

    def __len__(self) -> int:
        return len(self._positions)

    def add(self, positions: np.ndarray) -> np.int64:
        """Adds positions, from any thread; returns the number of all."""
        self._positions.update(positions.tolist())
        return np.int64(len(self._positions))

    def notes(self) -> tuple[str, ...]:
        """Returns a line about them, if there are any."""
        if not self._positions:
            return ()
        count, example = len(self._positions), self._images.describe(min(self._positions))
        what = (
            f"image of {len(self._images)} could not be read and was"
            if count == 1
            else (f"images of {len(self._images)} could not be read and were")
        )
        return (f"{count} {self._kind} {what} skipped{'' if count == 1 else ', the first of them'}: {example}",)


def readable_images(
    decode: Decode,
    positions: tf.Tensor,
    draws: Any,
    shape: tuple[int, ...],
    broken: BrokenImages,
    *,
    change: Change | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decodes images on all cores and skips those that cannot be decoded.

    A TensorFlow graph cannot catch errors, but a `tf.data` pipeline can ignore those of its elements, so this builds a
    small pipeline for each batch.

    Args:
        decode: A function from a position and its draws to an image and its label; if it fails, the image cannot be
            read.
        positions: Of the images, `[images]`, int64.
        draws: Tensors `[images, ...]`, perhaps in a structure.
        shape: Shape of an image in the result.
        broken: Records the images that cannot be read.
        change: A function from a decoded image and its draws to the image in the result; if it fails, so does the
            batch. Default: the decoded image, in one stage, which takes 0.04 ms less.

    Returns:
        Images `[readable, *shape]` float32, labels `[readable]` int64, and their indices in `positions`, `[readable]`
        int64, increasing.
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
    # One more element, so that there is a batch even if no image can be read.
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
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
