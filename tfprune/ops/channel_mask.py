"""Gates of channels, as EKG's supernets have them: scores, ranks, masks and masked kernels.

A gate keeps the channels of the lowest ranks. Its score has no effect on the output: the gradient that arrives at it
*is* the first-order importance of the channels.
"""

import numpy as np
import tensorflow as tf

from tfprune.arguments import number, whole_number

_SMALLEST_SQUARE = 1e-12


def rank_scores(scores: np.ndarray) -> np.ndarray:
    """Ranks channels by descending score, ties by position.

    Args:
        scores: `[channels]`.

    Returns:
        float32 `[channels]`, 0 for the highest score.

    Example:
        >>> rank_scores(np.array([0.1, 0.7, 0.1])).tolist()
        [1.0, 0.0, 2.0]

    Reference:
        Lee & Song, EKG (ECCV 2022), order of a gate's channels.
    """
    by_score = np.argsort(-np.asarray(scores), kind="stable")
    order = np.empty(len(by_score), np.float32)
    order[by_score] = np.arange(len(by_score), dtype=np.float32)
    return order


def keep_limit(channels: int, rate: float) -> np.float32:
    """Returns the first rank that is masked, `max(channels * rate, 1)`, in float32 as the layers compute it."""
    channels, rate = whole_number("channels", channels), number("rate", rate, at_most=1)  # searches go below 0
    return np.maximum(np.float32(channels) * np.float32(rate), np.float32(1))


def channel_mask(order: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """Returns the mask of a gate: its most important channels, at least one.

    Args:
        order: Ranks float32 `[channels]`, from `rank_scores`; all zeros (nothing is ranked yet) keep everything.
        rate: Fraction of channels to keep, float32 scalar.

    Returns:
        float32 `[channels]`, 1 where `order < max(channels * rate, 1)`.
    """
    channels = tf.cast(tf.shape(order)[-1], tf.float32)
    return tf.cast(order < tf.maximum(channels * rate, 1.0), tf.float32)


@tf.custom_gradient
def gate(values: tf.Tensor, mask: tf.Tensor, score: tf.Tensor):  # type: ignore[no-untyped-def]
    """Masks channels; the gradient of `score` is each channel's first-order importance.

    Forward, `y = values * mask`. Backward, the gradient passes to `values` unmasked (straight-through), and that of
    `score[c]` is `|sum of dL/dy * y|` over all positions of channel `c`. Where several gates share a score, their
    absolute importances add up.

    Args:
        values: `[batch, ..., channels]`.
        mask: 0/1 `[channels]`; gets no gradient.
        score: `[channels]`, float32; its value has no effect.

    Returns:
        The masked values.

    Reference:
        Lee & Song, EKG (ECCV 2022), first-order Taylor importance of a gate.
    """
    output = values * tf.cast(mask, values.dtype)

    def backward(upstream: tf.Tensor) -> tuple[tf.Tensor, None, tf.Tensor]:
        axes = list(range(len(values.shape) - 1))
        importance = tf.abs(tf.reduce_sum(tf.cast(upstream, tf.float32) * tf.cast(output, tf.float32), axes))
        return upstream, None, tf.cast(importance, score.dtype)

    return output, backward


@tf.custom_gradient
def gated_affine(scale: tf.Tensor, offset: tf.Tensor, mask: tf.Tensor, score: tf.Tensor):  # type: ignore[no-untyped-def]
    """Masks scale and offset of a batch norm that has a gate right after it, without a pass over the activations.

    With `y = mask * (scale * x + offset)` the importance `|sum dL/dy * y|` of the gate is
    `|scale' * dL/dscale' + offset' * dL/doffset'|`, where the primes mark the masked scale and offset: the batch norm's
    own backward pass has these sums already.

    Args:
        scale: `[channels]`.
        offset: `[channels]`.
        mask: 0/1 `[channels]`; gets no gradient.
        score: `[channels]`; its gradient is the importance, its value has no effect.

    Returns:
        The masked scale and offset.
    """
    masked_scale, masked_offset = scale * mask, offset * mask

    def backward(d_scale: tf.Tensor, d_offset: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None, tf.Tensor]:
        importance = tf.abs(masked_scale * d_scale + masked_offset * d_offset)
        return d_scale, d_offset, None, tf.cast(importance, score.dtype)

    return (masked_scale, masked_offset), backward


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
