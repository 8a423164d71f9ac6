"""EKG's fine-tuning loss: two views of each image, labels, and the teachers that are still better than the student."""

import tensorflow as tf

from tfprune.arguments import whole_number

Batch = dict[str, tf.Tensor]
Metrics = dict[str, tuple[tf.Tensor, tf.Tensor]]


def softened_divergence(teacher: tf.Tensor, student: tf.Tensor, temperature: float) -> tf.Tensor:
    """Computes the Kullback-Leibler divergence of softened outputs, times the temperature.

    Args:
        teacher: Logits `[..., classes]`.
        student: Logits `[..., classes]`.
        temperature: Divides both.

    Returns:
        `T * sum softmax(teacher / T) (log softmax(teacher / T) - log softmax(student / T))`, shape `[...]`. Its
        gradient in the student's logits is `softmax(student / T) - softmax(teacher / T)`.
    """
    log_teacher = tf.nn.log_softmax(teacher / temperature)
    log_student = tf.nn.log_softmax(student / temperature)
    return temperature * tf.reduce_sum(tf.exp(log_teacher) * (log_teacher - log_student), axis=-1)


def knowledge_target(bank: tf.Tensor, views: tf.Tensor, temperature: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Averages the teachers that are nearer to the best teacher than the student is.

    Args:
        bank: Teachers' logits `[batch, classes, teachers]`, best teacher first.
        views: The student's logits `[batch, views, classes]`.
        temperature: Of the divergences.

    Returns:
        The target logits `[batch, classes]`, and which teachers were kept, float `[teachers]`. No gradient flows.

    Reference:
        Lee & Song, EKG (ECCV 2022), filtered ensemble. The paper selects by loss; the authors' code, followed here,
        selects by the divergence from the best teacher, summed over the batch.
    """
    best = bank[..., 0]
    teachers = tf.transpose(bank, [2, 0, 1])
    distance = tf.reduce_sum(softened_divergence(best, teachers, temperature), axis=-1)
    current = tf.reduce_sum(softened_divergence(best, tf.reduce_mean(views, axis=1), temperature))
    kept = tf.cast(distance < current, bank.dtype)
    target = tf.reduce_sum(bank * kept, axis=-1) / tf.maximum(tf.reduce_sum(kept), 1.0)
    return tf.stop_gradient(target), kept


class KnowledgeObjective:
    """The objective of fine-tuning: cross-entropy and divergence from the filtered teachers, over two views.

    The reported loss is the sum over both views, as the original reports it; its gradient is that of their mean.
    With several devices each device filters the teachers by its own share of the batch.

    Args:
        classes: Number of classes; the temperature is 4, or 10 from 1000 classes on.
    """

    def __init__(self, classes: int) -> None:
        self.temperature = 10.0 if whole_number("classes", classes) >= 1000 else 4.0

    def inputs(self, batch: Batch) -> tf.Tensor:
        """Returns the views `[batch, views, height, width, channels]` as one batch of `batch * views` images."""
        views = batch["images"]
        return tf.reshape(views, [-1, *views.shape[2:]])

    def __call__(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, Metrics]:
        """Computes the loss of a batch.

        Args:
            logits: `[batch * views, classes]`.
            batch: `images`, `labels` `[batch]` and `knowledge` `[batch, classes, teachers]`.

        Returns:
            The summed loss to differentiate, and sums and counts of the metrics.
        """
        count = batch["images"].shape[1]
        views = tf.reshape(tf.cast(logits, tf.float32), [-1, count, logits.shape[-1]])
        labels = tf.repeat(batch["labels"][:, None], count, axis=1)
        target, _ = knowledge_target(batch["knowledge"], views, self.temperature)
        to_labels = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, views)
        to_teachers = softened_divergence(target[:, None], views, self.temperature)
        total = tf.reduce_sum(to_labels) + tf.reduce_sum(to_teachers)
        right = tf.cast(tf.equal(tf.argmax(views, axis=-1, output_type=labels.dtype), labels), tf.float32)
        examples = tf.cast(tf.shape(labels)[0], tf.float32)
        return total / count, {
            "loss": (total, examples),
            "accuracy": (tf.reduce_sum(right), examples * count),
        }
