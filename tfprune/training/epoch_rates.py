"""Learning rates that change once per epoch, by the names of the multi-prize tickets' code."""

import math
from typing import Any

import keras
import tensorflow as tf

from tfprune.errors import ConfigError

_STEPS: dict[str, dict[int, float]] = {
    "xnor": {30: 0.1, 44: 0.01, 54: 0.001},
    "mpt132_w34_2": {27: 0.1, 44: 0.01, 54: 1e-4},
    "mpt11_w34_2_v2": {50: 0.1, 62: 0.01, 70: 1e-4},
    "mpt11_w18_2": {46: 0.1, 65: 0.01, 80: 1e-4},
    "mpt11_w18_2_v2": {35: 0.1, 50: 0.01, 60: 1e-4},
    "cos_multi": {30: 0.1, 44: 0.01, 54: 0.001},
}
POLICIES = ("constant", "cosine", "multistep", *_STEPS)


@keras.saving.register_keras_serializable(package="tfprune")
class EpochRates(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate for each epoch.

    With `warmup` = w, `constant` and `cosine` begin with `base * (e + 1) / w` for the epochs e < w; then `cosine` is
    `base / 2 * (1 + cos(pi * (e - w) / (epochs - w)))`. `multistep` is `base * gamma ** (e // every)`. The others
    multiply by fixed factors from fixed epochs on; `cos_multi` has a cosine on top from epoch 55.

    Args:
        base: The rate to start from.
        policy: One of `POLICIES`.
        epochs: Epochs of the whole training.
        steps_per_epoch: Optimizer steps of an epoch.
        warmup: Epochs of warm-up.
        every: Epochs between two drops of `multistep`.
        gamma: Factor of each.

    Raises:
        ConfigError: There is no such policy, or a number is out of its range.

    Reference:
        Diffenderfer & Kailkhura (ICLR 2021), the authors' `utils/schedulers.py`.
    """

    def __init__(
        self,
        base: float,
        policy: str,
        epochs: int,
        steps_per_epoch: int,
        warmup: int = 0,
        every: int = 20,
        gamma: float = 0.1,
    ) -> None:
        if policy not in POLICIES:
            raise ConfigError(f"policy: expected one of {', '.join(POLICIES)}; received {policy!r}; use one")
        for name, value, least in (("epochs", epochs, 0), ("steps_per_epoch", steps_per_epoch, 1), ("every", every, 1)):
            if value < least:
                raise ConfigError(f"{name}: expected {least} or more, received {value}; mend it")
        if not 0 <= warmup <= max(epochs - 1, 0):
            raise ConfigError(f"warmup: expected 0 to fewer epochs than all {epochs}, received {warmup}; mend it")
        self._settings: dict[str, Any] = {
            "base": base,
            "policy": policy,
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
        }
        self._settings |= {"warmup": warmup, "every": every, "gamma": gamma}
        self._rates = [self.rate(epoch) for epoch in range(max(epochs, 1))]

    def rate(self, epoch: int) -> float:
        """The rate of an epoch, counted from 0."""
        base, policy, epochs, warmup, every, gamma = (
            self._settings[name] for name in ("base", "policy", "epochs", "warmup", "every", "gamma")
        )
        if policy in ("constant", "cosine") and epoch < warmup:
            return base * (epoch + 1) / warmup
        if policy == "constant":
            return base
        if policy == "multistep":
            return base * gamma ** (epoch // every)
        cosine = 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / max(epochs - warmup, 1)))
        if policy == "cosine":
            return base * cosine
        factor = [1.0, *(each for start, each in _STEPS[policy].items() if epoch >= start)][-1]
        return base * factor * (cosine if policy == "cos_multi" and epoch >= 55 else 1.0)

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """The rate at an optimizer step, counted from 0; the last epoch's beyond the end."""
        epoch = tf.cast(step, tf.int64) // self._settings["steps_per_epoch"]
        return tf.gather(tf.constant(self._rates, tf.float32), tf.minimum(epoch, len(self._rates) - 1))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal schedule."""
        return dict(self._settings)
