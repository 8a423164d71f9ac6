"""Adam with epsilon added where the paper and PyTorch add it."""

import keras
import tensorflow as tf
from keras import ops

from tfprune.keras_private import adam_moments, variable_index


@keras.saving.register_keras_serializable(package="tfprune")
class Adam(keras.optimizers.Adam):
    """`keras.optimizers.Adam` whose epsilon is added where the paper adds it.

    With the bias-corrected means `m` and `v` of gradients and of their squares, a step is

        w <- w - lr * m / (sqrt(v) + epsilon)

    Keras adds epsilon before it corrects `v`, which makes it up to thirty times larger in the first steps. That
    matters where gradients are small, as those of scores of pruned weights are.

    Args:
        *args: Those of `keras.optimizers.Adam`.
        epsilon: Added to the root of the second moment. Default: PyTorch's.
        **kwargs: Those of `keras.optimizers.Adam`, but not `amsgrad`.

    Raises:
        ValueError: `amsgrad` is True.

    Example:
        >>> Adam(0.01).epsilon
        1e-08

    Reference:
        Kingma & Ba, Adam (ICLR 2015), algorithm 1.
    """

    def __init__(self, *args, epsilon: float = 1e-8, **kwargs) -> None:
        super().__init__(*args, epsilon=epsilon, **kwargs)
        if self.amsgrad:
            raise ValueError("amsgrad: expected False, received True; take keras.optimizers.Adam")

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
