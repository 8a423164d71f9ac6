"""From encoded images to pixels of a given size."""

from collections.abc import Callable

import tensorflow as tf

_REDUCTIONS = (1, 2, 4, 8)


def decode_window(contents: tf.Tensor, window: Callable[[tf.Tensor], tf.Tensor], size: int) -> tf.Tensor:
    """Decodes a part of an image and scales it to a square.

    Of a JPEG image only the blocks of that part are computed, and where it is at least twice (4, 8 times) as large as
    asked for, only at a half (1/4, 1/8) of the resolution, so the bilinear scaling after it always stays below 2.
    There the part is met to within a pixel of that resolution.

    Args:
        contents: The encoded image: JPEG, PNG, BMP or the first frame of a GIF.
        window: From height and width of the image, `[2]`, int32, to top, left, height and width, `[4]`, int32.
        size: Pixels of each side of the result.

    Returns:
        `[size, size, 3]`, float32 on the scale 0 .. 255.
    """

    def jpeg() -> tf.Tensor:
        place = window(tf.io.extract_jpeg_shape(contents)[:2])
        surplus = tf.minimum(place[2], place[3]) // size
        level = tf.reduce_sum(tf.cast(surplus >= tf.constant(_REDUCTIONS[1:]), tf.int32))

        def reduced(by: int) -> tf.Tensor:
            return tf.image.decode_and_crop_jpeg(contents, place // by, channels=3, ratio=by)

        return tf.switch_case(level, [lambda by=by: reduced(by) for by in _REDUCTIONS])

    def other() -> tf.Tensor:
        image = _decoded(contents)
        top, left, height, width = tf.unstack(window(tf.shape(image)[:2]))
        return image[top : top + height, left : left + width]

    part = tf.ensure_shape(tf.cond(tf.io.is_jpeg(contents), jpeg, other), [None, None, 3])
    return tf.ensure_shape(tf.image.resize(part, [size, size]), [size, size, 3])


def decode_center(contents: tf.Tensor, size: int, shorter_side: int) -> tf.Tensor:
    """Decodes an image, scales its shorter side, and takes the square in the middle.

    Args:
        contents: The encoded image, as in `decode_window`.
        size: Pixels of each side of the result.
        shorter_side: Pixels of the shorter side before that; at least `size`.

    Returns:
        `[size, size, 3]`, float32 on the scale 0 .. 255.
    """
    image = _decoded(contents)
    shape = tf.shape(image)[:2]
    scaled = shorter_side * shape // tf.reduce_min(shape)
    image = tf.image.resize(image, scaled, antialias=True)
    top, left = tf.unstack((scaled - size + 1) // 2)
    return tf.ensure_shape(image[top : top + size, left : left + size], [size, size, 3])


def _decoded(contents: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.io.decode_image(contents, 3, expand_animations=False), [None, None, 3])
