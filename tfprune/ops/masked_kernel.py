"""Kernels whose masked channels are zero and whose norm is that of the whole kernel."""

import tensorflow as tf

_SMALLEST_SQUARE = 1e-12


def masked_kernel(kernel: tf.Tensor, in_mask: tf.Tensor, out_mask: tf.Tensor | None = None) -> tf.Tensor:
    """Masks a kernel on its two channel axes and rescales it to the norm it had.

    Args:
        kernel: `[..., in, out]`; of a depthwise convolution `[height, width, channels, multiplier]`.
        in_mask: 0/1 `[in]`.
        out_mask: 0/1 `[out]`. Default: nothing masked.

    Returns:
        The masked kernel, of the same Frobenius norm over all its elements as `kernel`, unless all of it is masked.

    Reference:
        Lee & Song, EKG (ECCV 2022), the authors' masked layers.
    """
    masked = kernel * in_mask[:, None]
    if out_mask is not None:
        masked = masked * out_mask
    squares = tf.reduce_sum(tf.square(masked))
    norm = tf.sqrt(tf.reduce_sum(tf.square(kernel)))
    return masked * (norm * tf.math.rsqrt(tf.maximum(squares, _SMALLEST_SQUARE)))
