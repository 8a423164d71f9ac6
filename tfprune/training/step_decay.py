"""A learning rate that drops at given epochs."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfprune")
class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """`base * rate ** (number of decay points passed)`, constant within an epoch.

    Args:
        base: Learning rate of the first epoch.
        points: Where the rate drops: below 1 a fraction of `epochs` (rounded down), otherwise an epoch. The first epoch
            is 0; the new rate holds from the start of the epoch that a point names.
        rate: Factor of each drop.
        epochs: Epochs of the whole training.
        steps_per_epoch: Optimizer steps of an epoch.

    Example:
        >>> decay = StepDecay(0.1, points=(0.5,), rate=0.1, epochs=4, steps_per_epoch=10)
        >>> [round(float(decay(step)), 4) for step in (0, 19, 20)]
        [0.1, 0.1, 0.01]

    Reference:
        EKG, op_utils.py, `Optimizer`.
    """

    def __init__(self, base: float, points: Sequence[float], rate: float, epochs: int, steps_per_epoch: int) -> None:
        self.base = base
        self.points = tuple(points)
        self.rate = rate
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        # Python ints and floats only: tensors made here would be tied to the graph that was open at the time.
        self._epochs_of_drop = sorted(int(point * epochs) if point < 1 else int(point) for point in self.points)
        self._rates = [base * rate**passed for passed in range(len(self.points) + 1)]

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """The learning rate at an optimizer step (counted from 0), a float32 scalar."""
        epoch = tf.cast(step, tf.int64) // self.steps_per_epoch
        passed = tf.reduce_sum(tf.cast(epoch >= tf.constant(self._epochs_of_drop, tf.int64), tf.int32))
        return tf.gather(tf.constant(self._rates, tf.float32), passed)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal schedule."""
        return {
            "base": self.base,
            "points": list(self.points),
            "rate": self.rate,
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
        }
