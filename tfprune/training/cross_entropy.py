"""The plain objective of classification."""

from dataclasses import dataclass

import tensorflow as tf

from tfprune.training.objective import Batch, Metrics


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of `batch["labels"]` for `batch["images"]`, with the metrics `loss` and `accuracy`.

    Example:
        >>> loss, metrics = CrossEntropy()(tf.constant([[0.0, 0.0]]), {"labels": tf.constant([1])})
        >>> round(float(loss), 4)
        0.6931
    """

    def inputs(self, batch: Batch) -> tf.Tensor:
        """The images, `[batch, height, width, channels]`."""
        return batch["images"]

    def __call__(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, Metrics]:
        """Summed cross-entropy of `[batch, classes]` logits."""
        labels = batch["labels"]
        loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        right = tf.reduce_sum(tf.cast(tf.argmax(logits, -1, output_type=labels.dtype) == labels, tf.float32))
        count = tf.cast(tf.size(labels), tf.float32)
        return loss, {"loss": (loss, count), "accuracy": (right, count)}
