"""The gradients of a network where it stands, on a batch that is always the same."""

import keras
import tensorflow as tf

from tfprune.training.gradient_function import GradientFunction
from tfprune.training.objective import Batch, Objective
from tfprune.training.training_step import loss_scale


class GradientProbe:
    """Gradients as a training step has them before its optimizer sees them; nothing is trained.

    Args:
        network: What is trained.
        optimizer: What trains it: in float16 it knows by what the loss has to be multiplied.
        objective: What is minimised.
        batch: The batch; it goes through one device at once.

    Example:
        >>> from tfprune.training import CrossEntropy
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> batch = {"images": tf.ones((2, 4)), "labels": tf.constant([0, 1])}
        >>> [gradient.shape[0] for gradient in GradientProbe(model, keras.optimizers.SGD(), CrossEntropy(), batch)()]
        [4, 3]
    """

    def __init__(
        self, network: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective, batch: Batch
    ) -> None:
        examples = len(batch["labels"])
        self._gradients = GradientFunction(network, objective, global_batch_size=examples, parts=1, jit=False)
        self._optimizer = optimizer
        self._batch = batch
        self._compute = tf.function(self._unscaled)

    def __call__(self) -> list[tf.Tensor]:
        """Gradients in the order of the network's trainable variables; in float16 they may overflow."""
        return self._compute(self._batch, loss_scale(self._optimizer))

    def _unscaled(self, batch: Batch, scale: tf.Tensor) -> list[tf.Tensor]:
        return [gradient / tf.cast(scale, gradient.dtype) for gradient in self._gradients(batch, scale).gradients]
