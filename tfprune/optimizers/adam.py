"""Adam with epsilon added where the paper and PyTorch add it."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfprune.arguments import number, truth
from tfprune.errors import ConfigError
from tfprune.keras_private import adam_moments, variable_index
from tfprune.optimizers.keras_settings import checked_settings


@keras.saving.register_keras_serializable(package="tfprune")
class Adam(keras.optimizers.Adam):
    """`keras.optimizers.Adam` whose epsilon is added where the paper adds it.

    With the bias-corrected means `m` and `v` of gradients and of their squares, a step is

        w <- w - lr * m / (sqrt(v) + epsilon)

    Keras adds epsilon before it corrects `v`, which makes it up to thirty times larger in the first steps. That
    matters where gradients are small, as those of scores of pruned weights are.

    Args:
        learning_rate: A number of at least 0 or a `keras.optimizers.schedules.LearningRateSchedule`.
        beta_1: Decay of the mean of gradients, in [0, 1].
        beta_2: Decay of the mean of their squares, in [0, 1].
        epsilon: Added to the root of the second moment, at least 0. Default: PyTorch's.
        amsgrad: False; there is no such variant.
        **kwargs: Further arguments of `keras.optimizers.Adam`.

    Raises:
        ConfigError: `amsgrad` is True, or another argument has a wrong type or is out of its range.

    Example:
        >>> Adam(0.01).epsilon
        1e-08

    Reference:
        Kingma & Ba, Adam (ICLR 2015), algorithm 1.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        amsgrad: bool = False,
        **kwargs: Any,
    ) -> None:
        if truth("amsgrad", amsgrad):
            raise ConfigError("amsgrad: expected False, received True; take keras.optimizers.Adam")
        super().__init__(
            beta_1=number("beta_1", beta_1, at_least=0, at_most=1),
            beta_2=number("beta_2", beta_2, at_least=0, at_most=1),
            epsilon=number("epsilon", epsilon, at_least=0),
            **checked_settings({"learning_rate": learning_rate, **kwargs}),
        )

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Updates one variable."""
        dtype = variable.dtype
        gradient, rate = ops.cast(gradient, dtype), ops.cast(learning_rate, dtype)
        step = ops.cast(self.iterations + 1, dtype)
        first, second = (1 - ops.power(ops.cast(beta, dtype), step) for beta in (self.beta_1, self.beta_2))
        mean, square = adam_moments(self, variable_index(self, variable))
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign_add(square, (ops.square(gradient) - square) * (1 - self.beta_2))
        self.assign_sub(variable, rate / first * mean / (ops.sqrt(square / second) + self.epsilon))
