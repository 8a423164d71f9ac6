"""EKG's search objective: cross-entropy to the labels, and to the ensemble of the sub-networks found so far."""

import numpy as np
import tensorflow as tf


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithm of the softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def label_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross-entropy of each example to its label: logits `[n, classes]`, labels `[n]`, result `[n]`."""
    return -log_softmax(logits)[np.arange(len(labels)), labels]


def knowledge_losses(logits: np.ndarray, knowledge: np.ndarray) -> np.ndarray:
    """Cross-entropy of each example to the softmax of the ensemble's logits (both `[n, classes]`), result `[n]`."""
    return -(np.exp(log_softmax(knowledge)) * log_softmax(logits)).sum(axis=-1)


def objective_sum(logits: tf.Tensor, labels: tf.Tensor, knowledge: tf.Tensor) -> tf.Tensor:
    """Sum over a batch of both cross-entropies, for gradients.

    Args:
        logits: `[batch, classes]`.
        labels: `[batch]`, integers.
        knowledge: Logits of the ensemble `[batch, classes]`.

    Returns:
        A scalar.

    Reference:
        Lee & Song, EKG (ECCV 2022): the ensemble's outputs as a second target in the reward of a candidate.
    """
    to_labels = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    to_ensemble = tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(knowledge), logits)
    return tf.reduce_sum(to_labels) + tf.reduce_sum(to_ensemble)
