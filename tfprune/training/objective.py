"""What a training method gives the loop."""

from typing import Protocol, TypeAlias

import tensorflow as tf

Batch: TypeAlias = dict[str, tf.Tensor]
Metrics: TypeAlias = dict[str, tuple[tf.Tensor, tf.Tensor]]


class Objective(Protocol):
    """Turns a batch into model inputs, and logits into a loss; called while the step is traced, so keep it pure."""

    def inputs(self, batch: Batch) -> tf.Tensor:
        """What is fed to the model.

        Args:
            batch: The tensors that the data set yields; their first axis is the examples.

        Returns:
            `[examples, ...]`.
        """

    def __call__(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, Metrics]:
        """The loss to be differentiated.

        Args:
            logits: What the model returned, `[examples, classes]`, float32.
            batch: As in `inputs`.

        Returns:
            The loss *summed* over the examples (the loop divides it by the global batch size), and metrics as name ->
            (sum, count), of which the loop shows the means; one that is no finite number stops the training.
        """
