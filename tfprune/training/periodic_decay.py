"""A rate that is multiplied by a factor every so many epochs."""

import math
from typing import Any

import keras
import tensorflow as tf

from tfprune.errors import ConfigError


@keras.saving.register_keras_serializable(package="tfprune")
class PeriodicDecay(keras.optimizers.schedules.LearningRateSchedule):
    """`initial * ratio ** ((epoch + offset) // every_epochs)`, constant within an epoch.

    It serves as adaptivity rate of `Bop` and as learning rate. Values are float64: what is derived from a rate, such as
    `1 - rate`, is rounded to the type of the weights only once.

    Args:
        initial: The rate before the first decay, above 0.
        ratio: Factor of each decay, above 0.
        every_epochs: Epochs from one decay to the next.
        steps_per_epoch: Optimizer steps of an epoch.
        offset: Epochs by which all decays come sooner.

    Raises:
        ConfigError: If a number is out of its range.

    Example:
        >>> decay = PeriodicDecay(1e-3, ratio=0.1, every_epochs=2, steps_per_epoch=10)
        >>> [round(float(decay(step)), 6) for step in (0, 19, 20, 40)]
        [0.001, 0.001, 0.0001, 1e-05]

    Reference:
        Peek-a-Boo, `--ar-decay-freq` and `--ar-decay-ratio`: main_cifar.py decays after every `every_epochs` epochs,
        main_imagenet_train.py one epoch sooner, which is `offset=1`.
    """

    def __init__(self, initial: float, ratio: float, every_epochs: int, steps_per_epoch: int, offset: int = 0) -> None:
        for name, value in (("initial", initial), ("ratio", ratio)):
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name}: expected a number above 0, received {value}")
        for name, count, least in (
            ("every_epochs", every_epochs, 1),
            ("steps_per_epoch", steps_per_epoch, 1),
            ("offset", offset, 0),
        ):
            if int(count) != count or count < least:
                raise ConfigError(f"{name}: expected a whole number of at least {least}, received {count}")
        self.initial = float(initial)
        self.ratio = float(ratio)
        self.every_epochs = int(every_epochs)
        self.steps_per_epoch = int(steps_per_epoch)
        self.offset = int(offset)

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """The rate at an optimizer step (counted from 0), a float64 scalar."""
        epoch = tf.cast(step, tf.int64) // self.steps_per_epoch
        decays = tf.cast((epoch + self.offset) // self.every_epochs, tf.float64)
        return tf.constant(self.initial, tf.float64) * tf.pow(tf.constant(self.ratio, tf.float64), decays)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal schedule."""
        return {
            "initial": self.initial,
            "ratio": self.ratio,
            "every_epochs": self.every_epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "offset": self.offset,
        }
