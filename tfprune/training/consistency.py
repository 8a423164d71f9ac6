"""Cross-entropy on clean images, and agreement on augmented ones."""

from dataclasses import dataclass

import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.training.cross_entropy import CrossEntropy, smoothed_cross_entropy
from tfprune.training.objective import Batch, Metrics


@dataclass(frozen=True)
class Consistency(CrossEntropy):
    """Cross-entropy of clean images, plus the Jensen-Shannon divergence of what the model says of them and their views.

    `batch["images"]` is `[batch, views, height, width, channels]` with the clean image as first view. All views go
    through the model together, so batch norm takes its statistics over all. Metrics are those of the clean images, but
    `loss` is the whole loss and `divergence` its second part.

    Args:
        label_smoothing: As for `CrossEntropy`.
        weight: Of the divergence.

    Raises:
        ConfigError: A number is out of its range.

    Reference:
        Hendrycks et al., AugMix (ICLR 2020), the consistency loss.
    """

    weight: float = 12.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weight >= 0:
            raise ConfigError(f"weight: expected 0 or more, received {self.weight}; mend it")

    def inputs(self, batch: Batch) -> tf.Tensor:
        """All clean images, then all second views and so on, `[views * batch, height, width, channels]`."""
        images = batch["images"]
        if len(images.shape) != 5:
            raise ConfigError(
                "expected images in several views, [batch, views, height, width, channels], received the shape "
                f"{images.shape}; take training_batches(..., view=AugMix(), views=3)"
            )
        return tf.concat(tf.unstack(images, axis=1), 0)

    def __call__(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, Metrics]:
        """Summed loss of `[views * batch, classes]` logits."""
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
