"""Stochastic gradient descent with momentum and L2 weight decay."""

from typing import Any, Literal, TypeAlias

import keras
import tensorflow as tf

from tfprune.arguments import number, truth
from tfprune.errors import check_choice
from tfprune.keras_private import uses_weight_decay, variable_index
from tfprune.optimizers.keras_settings import checked_settings

MomentumForm: TypeAlias = Literal["keras", "torch"]


@keras.saving.register_keras_serializable(package="tfprune")
class SGD(keras.optimizers.SGD):
    """SGD whose weight decay is *coupled*: L2 regularization, added to the gradient of every trainable variable.

    With the gradient `g`, the velocity `a` and the learning rate `lr`:

        g <- g + weight_decay * v
        a <- momentum * a - lr * g
        v <- v + momentum * a - lr * g      (Nesterov)
        v <- v + a                          (without)

    `momentum_form="torch"` keeps the learning rate out of the velocity:

        a <- momentum * a + g
        v <- v - lr * (g + momentum * a)    (Nesterov)
        v <- v - lr * a                     (without)

    The two are the same as long as the learning rate is constant. After a drop, the first continues at the old rate
    for some steps, the second does not.

    `keras.optimizers.SGD(weight_decay=...)` is different: it shrinks the variable independently of the momentum
    (decoupled, as in SGDW), `v <- v - lr * weight_decay * v`. Here, the decay passes through the momentum, as in
    PyTorch's SGD and in most published training recipes. The decay is added after the gradients of all replicas are
    summed, so it is the same for any number of devices.

    Args:
        learning_rate: A float or a `keras.optimizers.schedules.LearningRateSchedule`.
        momentum: Momentum in [0, 1].
        nesterov: Whether to look ahead along the velocity.
        weight_decay: Coefficient of the coupled decay, at least 0. Keras' `exclude_from_weight_decay` spares variables.
        momentum_form: Whether the velocity holds steps ("keras") or gradients ("torch").
        **kwargs: Further arguments of `keras.optimizers.SGD`, such as `clipnorm` or `name`.

    Raises:
        ConfigError: An argument has a wrong type or is out of its range.

    Example:
        >>> optimizer = SGD(0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
        >>> optimizer.get_config()["weight_decay"]
        0.0005

    Reference:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 1 without the decoupling.
        Torch form: the documentation of `torch.optim.SGD`, with dampening 0.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        momentum_form: MomentumForm = "keras",
        **kwargs: Any,
    ) -> None:
        weight_decay, nesterov = number("weight_decay", weight_decay, at_least=0), truth("nesterov", nesterov)
        momentum = number("momentum", momentum, at_least=0, at_most=1)
        check_choice("momentum_form", momentum_form, MomentumForm)
        # Keras must not see the coefficient: it would also apply its own, decoupled decay.
        settings = checked_settings({"learning_rate": learning_rate, **kwargs})
        super().__init__(momentum=momentum, nesterov=nesterov, weight_decay=None, **settings)
        self.coupled_weight_decay = weight_decay
        self.momentum_form = momentum_form

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Updates one variable, with one kernel for velocity and variable (GPUs pay for each launch)."""
        gradient = tf.cast(gradient, variable.dtype)
        learning_rate = tf.cast(learning_rate, variable.dtype)
        if self.coupled_weight_decay and uses_weight_decay(self, variable):
            gradient += self.coupled_weight_decay * variable
        if not self.momentum:
            self.assign_sub(variable, learning_rate * gradient)
            return
        velocity = self.momentums[variable_index(self, variable)]
        torch_form = self.momentum_form == "torch"
        apply = tf.raw_ops.ResourceApplyMomentum if torch_form else tf.raw_ops.ResourceApplyKerasMomentum
        apply(
            var=variable.handle,
            accum=velocity.value.handle,
            lr=learning_rate,
            grad=gradient,
            momentum=tf.constant(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        return {
            **super().get_config(),
            "weight_decay": self.coupled_weight_decay,
            "momentum_form": self.momentum_form,
        }
