"""Gates: masks on channels whose backward pass measures how important each channel is."""

import tensorflow as tf


@tf.custom_gradient
def gate(values: tf.Tensor, mask: tf.Tensor, score: tf.Tensor):  # type: ignore[no-untyped-def]
    """Masks channels; the gradient of `score` is each channel's first-order importance.

    Forward `y = values * mask`. Backward the gradient passes to `values` unmasked (straight-through), and that of
    `score[c]` is `|sum of dL/dy * y|` over all positions of channel `c`. Where one score serves several gates, their
    importances add up, each taken absolutely.

    Args:
        values: `[batch, ..., channels]`.
        mask: 0/1 `[channels]`; gets no gradient.
        score: `[channels]`, float32; its value plays no part.

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
    """Scale and offset of a batch norm with a gate right after it, at no pass over the activations.

    With `y = mask * (scale * x + offset)` the importance `|sum dL/dy * y|` of the gate is
    `|scale' * dL/dscale' + offset' * dL/doffset'|`, where the primes mark the masked scale and offset: the batch norm's
    own backward pass has these sums already.

    Args:
        scale: `[channels]`.
        offset: `[channels]`.
        mask: 0/1 `[channels]`; gets no gradient.
        score: `[channels]`; its gradient is the importance, its value plays no part.

    Returns:
        The masked scale and offset.
    """
    masked_scale, masked_offset = scale * mask, offset * mask

    def backward(d_scale: tf.Tensor, d_offset: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None, tf.Tensor]:
        importance = tf.abs(masked_scale * d_scale + masked_offset * d_offset)
        return d_scale, d_offset, None, tf.cast(importance, score.dtype)

    return (masked_scale, masked_offset), backward
