"""The plain objective of classification."""

from dataclasses import dataclass

import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.training.objective import Batch, Metrics


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of `batch["labels"]` for `batch["images"]`, with the metrics `loss` and `accuracy`.

    Args:
        label_smoothing: Share of each label that is spread evenly over all classes, 0 to below 1.

    Raises:
        ConfigError: The share is none.

    Example:
        >>> loss, metrics = CrossEntropy()(tf.constant([[0.0, 0.0]]), {"labels": tf.constant([1])})
        >>> round(float(loss), 4)
        0.6931
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing: expected 0 to below 1, received {self.label_smoothing}; mend it")

    def inputs(self, batch: Batch) -> tf.Tensor:
        """The images, `[batch, height, width, channels]`."""
        return batch["images"]

    def __call__(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, Metrics]:
        """Summed cross-entropy of `[batch, classes]` logits."""
        labels = batch["labels"]
        loss = tf.reduce_sum(smoothed_cross_entropy(logits, labels, self.label_smoothing))
        right = tf.reduce_sum(tf.cast(tf.argmax(logits, -1, output_type=labels.dtype) == labels, tf.float32))
        count = tf.cast(tf.size(labels), tf.float32)
        return loss, {"loss": (loss, count), "accuracy": (right, count)}


def smoothed_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Cross-entropy of each example, where a share of the label is spread evenly over the classes.

    Args:
        logits: `[batch, classes]`.
        labels: `[batch]`, integers.
        smoothing: The share.

    Returns:
        `[batch]`.

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture" (CVPR 2016).
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if not smoothing:
        return losses
    return (1 - smoothing) * losses - smoothing * tf.reduce_mean(tf.nn.log_softmax(logits), -1)
