"""Losses to minimize, with their metrics.

An `Objective` says what the model receives of a batch and which loss follows from its logits; `Loop` trains any of
them. `CrossEntropy` is the usual one. `Consistency` adds the divergence between predictions for several views of an
image, as AugMix has it.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import tensorflow as tf

from tfprune.arguments import number
from tfprune.errors import ConfigError
from tfprune.recipes.data.dataset import Batch

Metrics: TypeAlias = dict[str, tuple[tf.Tensor, tf.Tensor]]


class Objective(Protocol):
    """A loss to minimize.

    It is called while the training step is traced, so it must be a pure function of its arguments.
    """

    def inputs(self, batch: Batch) -> tf.Tensor:
        """Returns the inputs of the model.

        Args:
            batch: Tensors of the data set; their first axis is the examples.

        Returns:
            `[examples, ...]`.
        """

    def __call__(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, Metrics]:
        """Computes the loss to differentiate.

        Args:
            logits: Outputs of the model, `[examples, classes]`, float32.
            batch: As in `inputs`.

        Returns:
            The loss *summed* over the examples (the loop divides it by the global batch size), and metrics as name ->
            (sum, count). The loop shows their means, and stops the training if one is not finite.
        """


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of `batch["labels"]` for `batch["images"]`, with the metrics `loss` and `accuracy`.

    Args:
        label_smoothing: Fraction of each label that is spread evenly over all classes, 0 to below 1.

    Raises:
        ConfigError: `label_smoothing` is out of range.

    Example:
        >>> loss, metrics = CrossEntropy()(tf.constant([[0.0, 0.0]]), {"labels": tf.constant([1])})
        >>> round(float(loss), 4)
        0.6931
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "label_smoothing", number("label_smoothing", self.label_smoothing, at_least=0, below=1)
        )

    def inputs(self, batch: Batch) -> tf.Tensor:
        """Returns the images, `[batch, height, width, channels]`."""
        return batch["images"]

    def __call__(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, Metrics]:
        """Computes the summed cross-entropy of `[batch, classes]` logits."""
        labels = batch["labels"]
        loss = tf.reduce_sum(smoothed_cross_entropy(logits, labels, self.label_smoothing))
        right = tf.reduce_sum(tf.cast(tf.argmax(logits, -1, output_type=labels.dtype) == labels, tf.float32))
        count = tf.cast(tf.size(labels), tf.float32)
        return loss, {"loss": (loss, count), "accuracy": (right, count)}


def smoothed_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Computes the cross-entropy of each example with smoothed labels.

    Args:
        logits: `[batch, classes]`.
        labels: `[batch]`, integers.
        smoothing: Fraction of each label that is spread evenly over the classes.

    Returns:
        `[batch]`.

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture" (CVPR 2016).
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if not smoothing:
        return losses
    return (1 - smoothing) * losses - smoothing * tf.reduce_mean(tf.nn.log_softmax(logits), -1)


@dataclass(frozen=True)
class Consistency(CrossEntropy):
    """Cross-entropy of clean images plus the Jensen-Shannon divergence between the predictions for all their views.

    `batch["images"]` is `[batch, views, height, width, channels]` with the clean image as first view. All views go
    through the model together, so batch norm computes its statistics over all. `accuracy` is that of the clean images,
    `loss` the whole loss, and `divergence` its second part.

    Args:
        label_smoothing: As for `CrossEntropy`.
        weight: Factor of the divergence.

    Raises:
        ConfigError: A number is out of range.

    Reference:
        Hendrycks et al., AugMix (ICLR 2020), the consistency loss.
    """

    weight: float = 12.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weight", number("weight", self.weight, at_least=0))

    def inputs(self, batch: Batch) -> tf.Tensor:
        """Returns all clean images, then all second views and so on, `[views * batch, height, width, channels]`.

        Raises:
            ConfigError: The images do not have several views.
        """
        images = batch["images"]
        if len(images.shape) != 5:
            raise ConfigError(
                "expected images in several views, [batch, views, height, width, channels], received the shape "
                f"{images.shape}; take BatchRequest(..., view=AugMix(), views=3)"
            )
        return tf.concat(tf.unstack(images, axis=1), 0)

    def __call__(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, Metrics]:
        """Computes the summed loss of `[views * batch, classes]` logits."""
        labels = batch["labels"]
        views = tf.split(logits, batch["images"].shape[1])
        chances = [tf.nn.softmax(view) for view in views]
        mean = tf.math.log(tf.clip_by_value(tf.add_n(chances) / len(views), 1e-7, 1.0))
        divergence = tf.add_n(
            [tf.reduce_sum(p * (tf.nn.log_softmax(view) - mean)) for p, view in zip(chances, views, strict=True)]
        ) / len(views)
        loss = tf.reduce_sum(smoothed_cross_entropy(views[0], labels, self.label_smoothing)) + self.weight * divergence
        _, metrics = super().__call__(views[0], batch)
        count = metrics["loss"][1]
        return loss, metrics | {"loss": (loss, count), "divergence": (divergence, count)}
