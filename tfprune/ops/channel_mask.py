"""Ranks and masks of a gate's channels."""

import numpy as np
import tensorflow as tf


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
    """The rank from which on channels are masked, `max(channels * rate, 1)`, in float32 as the layers compute it."""
    return np.maximum(np.float32(channels) * np.float32(rate), np.float32(1))


def channel_mask(order: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """Mask of a gate: its most important channels, at least one.

    Args:
        order: Ranks float32 `[channels]`, from `rank_scores`; all zeros (nothing ranked yet) keeps everything.
        rate: Fraction of channels to keep, float32 scalar.

    Returns:
        float32 `[channels]`, 1 where `order < max(channels * rate, 1)`.
    """
    channels = tf.cast(tf.shape(order)[-1], tf.float32)
    return tf.cast(order < tf.maximum(channels * rate, 1.0), tf.float32)
