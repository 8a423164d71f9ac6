"""Schedules of learning rates and densities over the epochs of a training.

`StepDecay`, `PeriodicDecay` and `EpochRates` are Keras learning rate schedules that are constant within an epoch, one
for each of the original codes. `DensityRamp` lowers the density of sub-network layers epoch by epoch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfprune.arguments import each_of, instance, number, whole_number
from tfprune.errors import ConfigError
from tfprune.reprs import described
from tfprune.settings import LARGEST

_STEPS: dict[str, dict[int, float]] = {
    "xnor": {30: 0.1, 44: 0.01, 54: 0.001},
    "mpt132_w34_2": {27: 0.1, 44: 0.01, 54: 1e-4},
    "mpt11_w34_2_v2": {50: 0.1, 62: 0.01, 70: 1e-4},
    "mpt11_w18_2": {46: 0.1, 65: 0.01, 80: 1e-4},
    "mpt11_w18_2_v2": {35: 0.1, 50: 0.01, 60: 1e-4},
    "cos_multi": {30: 0.1, 44: 0.01, 54: 0.001},
}
POLICIES = ("constant", "cosine", "multistep", *_STEPS)
_MOST_EPOCHS = 1_000_000  # there is a rate for each
_LARGEST_RATE = float(tf.float32.max)


@keras.saving.register_keras_serializable(package="tfprune")
class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """`base * rate ** (number of decay points passed)`, constant within an epoch.

    Args:
        base: Learning rate of the first epoch.
        points: Epochs from whose start on the rate is lower, counted from 0; each once. A number below 1 is a fraction
            of `epochs`, rounded down; such a drop comes later where it would be in the first epoch or in that of
            another drop.
        rate: Factor of each drop.
        epochs: Epochs of the whole training.
        steps_per_epoch: Optimizer steps of an epoch.

    Example:
        >>> decay = StepDecay(0.1, points=(0.5,), rate=0.1, epochs=4, steps_per_epoch=10)
        >>> [round(float(decay(step)), 4) for step in (0, 19, 20)]
        [0.1, 0.1, 0.01]

    Attributes:
        drops: Epochs of the drops, in order; those from `epochs` on are not reached.

    Raises:
        ConfigError: Two points are the same epoch, or a number is out of range.

    Reference:
        EKG, op_utils.py, `Optimizer`.
    """

    def __init__(self, base: float, points: Sequence[float], rate: float, epochs: int, steps_per_epoch: int) -> None:
        self.base = base = number("base", base)
        self.points = each_of(number, "points", points, at_least=0, at_most=LARGEST)
        self.rate = rate = number("rate", rate)
        self.epochs = whole_number("epochs", epochs, at_least=0)
        self.steps_per_epoch = whole_number("steps_per_epoch", steps_per_epoch)
        # Python numbers only: a tensor created here would belong to the graph that is open now.
        self.drops = _drops(self.points, self.epochs)
        self._rates = _within_float32(lambda: [base * rate**passed for passed in range(len(self.points) + 1)])

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """Returns the learning rate at an optimizer step (counted from 0), a float32 scalar."""
        epoch = tf.cast(step, tf.int64) // self.steps_per_epoch
        passed = tf.reduce_sum(tf.cast(epoch >= tf.constant(self.drops, tf.int64), tf.int32))
        return tf.gather(tf.constant(self._rates, tf.float32), passed)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of an equal schedule."""
        return {
            "base": self.base,
            "points": list(self.points),
            "rate": self.rate,
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
        }


def _within_float32(make: Callable[[], list[float]]) -> list[float]:
    """Returns the rates that a function computes; raises `ConfigError` if one is beyond float32."""
    try:
        rates = make()
    except OverflowError:
        rates = [math.inf]
    if not all(abs(rate) <= _LARGEST_RATE for rate in rates):
        raise ConfigError("expected learning rates that are finite in float32, received larger ones; lower the numbers")
    return rates


def _drops(points: Sequence[float], epochs: int) -> list[int]:
    """Returns the epochs of the drops, at least one apart, the first not in epoch 0."""
    drops = [int(point) for point in points if point >= 1]
    if len(set(drops)) < len(drops):
        raise ConfigError(f"points: expected different epochs, received {drops}; the learning rate drops once in each")
    for point in sorted(point for point in points if point < 1):
        drop = max(1, int(point * epochs))
        while drop in drops:
            drop += 1
        drops.append(drop)
    return sorted(drops)


@keras.saving.register_keras_serializable(package="tfprune")
class PeriodicDecay(keras.optimizers.schedules.LearningRateSchedule):
    """`initial * ratio ** ((epoch + offset) // every_epochs)`, constant within an epoch.

    It is the adaptivity rate of `Bop` or a learning rate. Values are float64, so that a number computed from the rate,
    such as `1 - rate`, is rounded to the type of the weights only once.

    Args:
        initial: Rate before the first decay, above 0.
        ratio: Factor of each decay, above 0.
        every_epochs: Epochs from one decay to the next.
        steps_per_epoch: Optimizer steps of an epoch.
        offset: Epochs by which all decays are earlier, fewer than `every_epochs`.

    Raises:
        ConfigError: A number is out of range.

    Example:
        >>> decay = PeriodicDecay(1e-3, ratio=0.1, every_epochs=2, steps_per_epoch=10)
        >>> [round(float(decay(step)), 6) for step in (0, 19, 20, 40)]
        [0.001, 0.001, 0.0001, 1e-05]

    Reference:
        Peek-a-Boo, `--ar-decay-freq` and `--ar-decay-ratio`: main_cifar.py decays after every `every_epochs` epochs,
        main_imagenet_train.py one epoch earlier, which is `offset=1`.
    """

    def __init__(self, initial: float, ratio: float, every_epochs: int, steps_per_epoch: int, offset: int = 0) -> None:
        self.initial = number("initial", initial, above=0)
        self.ratio = number("ratio", ratio, above=0)
        self.every_epochs = whole_number("every_epochs", every_epochs)
        self.steps_per_epoch = whole_number("steps_per_epoch", steps_per_epoch)
        self.offset = whole_number("offset", offset, at_least=0)
        if self.offset >= self.every_epochs:
            raise ConfigError(
                f"every_epochs: expected more than the {offset} by which all decays are earlier, received "
                f"{every_epochs}: the first would come before the training"
            )

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """Returns the rate at an optimizer step (counted from 0), a float64 scalar."""
        epoch = tf.cast(step, tf.int64) // self.steps_per_epoch
        decays = tf.cast((epoch + self.offset) // self.every_epochs, tf.float64)
        return tf.constant(self.initial, tf.float64) * tf.pow(tf.constant(self.ratio, tf.float64), decays)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of an equal schedule."""
        return {
            "initial": self.initial,
            "ratio": self.ratio,
            "every_epochs": self.every_epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "offset": self.offset,
        }


@keras.saving.register_keras_serializable(package="tfprune")
class EpochRates(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate for each epoch.

    With `warmup` = w, `constant` and `cosine` begin with `base * (e + 1) / w` for the epochs e < w; then `cosine` is
    `base / 2 * (1 + cos(pi * (e - w) / (epochs - w)))`. `multistep` is `base * gamma ** (e // every)`. The others
    multiply by fixed factors from fixed epochs on; `cos_multi` has a cosine on top from epoch 55.

    Args:
        base: Rate that all policies multiply.
        policy: One of `POLICIES`.
        epochs: Epochs of the whole training.
        steps_per_epoch: Optimizer steps of an epoch.
        warmup: Epochs of warm-up.
        every: Epochs between two drops of `multistep`.
        gamma: Factor of each drop of `multistep`.

    Attributes:
        drops: Epochs of the drops of policies that have some; of `multistep` the first one.

    Raises:
        ConfigError: There is no such policy, or a number is out of range.

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
        if not isinstance(policy, str) or policy not in POLICIES:
            raise ConfigError(f"policy: expected one of {', '.join(POLICIES)}; received {described(policy)}; use one")
        epochs = whole_number("epochs", epochs, at_least=0, at_most=_MOST_EPOCHS)
        self._settings: dict[str, Any] = {
            "base": number("base", base),
            "policy": policy,
            "epochs": epochs,
            "steps_per_epoch": whole_number("steps_per_epoch", steps_per_epoch),
            "warmup": whole_number("warmup", warmup, at_least=0, at_most=max(epochs - 1, 0)),
            "every": whole_number("every", every),
            "gamma": number("gamma", gamma),
        }
        self._rates = _within_float32(lambda: [self.rate(epoch) for epoch in range(max(epochs, 1))])
        self.drops = list(_STEPS.get(policy, {})) or ([every] if policy == "multistep" else [])

    def rate(self, epoch: int) -> float:
        """Returns the rate of an epoch.

        Args:
            epoch: Number of the epoch, from 0.
        """
        epoch = whole_number("epoch", epoch, at_least=0)
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
        """Returns the rate at an optimizer step, counted from 0; after the end that of the last epoch."""
        epoch = tf.cast(step, tf.int64) // self._settings["steps_per_epoch"]
        return tf.gather(tf.constant(self._rates, tf.float32), tf.minimum(epoch, len(self._rates) - 1))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of an equal schedule."""
        return dict(self._settings)


def missed_drops(schedule: StepDecay | EpochRates, epochs: int) -> list[int]:
    """Returns the epochs of the drops of a learning rate that come after the end of a training."""
    instance("schedule", schedule, StepDecay | EpochRates, "a StepDecay or EpochRates")
    epochs = whole_number("epochs", epochs, at_least=0)
    return [drop for drop in schedule.drops if drop >= epochs]


@dataclass(frozen=True)
class DensityRamp:
    """Density that falls from a half to its final value over some epochs, fast at first, and then is constant.

    A final density above `start` is used from the first epoch on. The density of an epoch depends only on its number,
    so a resumed run continues with the same values.

    Args:
        final: Final density, in (0, 1].
        epochs: Epochs until then; 0 for the final density from the first epoch on.
        start: Density of the first epoch.

    Raises:
        ConfigError: A number is out of range.

    Example:
        >>> ramp = DensityRamp(0.2, epochs=10)
        >>> [round(ramp(epoch), 4) for epoch in (0, 1, 9, 10, 50)]
        [0.5, 0.4187, 0.2003, 0.2, 0.2]

    Reference:
        Zhu & Gupta, "To prune, or not to prune" (2017), as in the code of the multi-prize tickets.
    """

    final: float
    epochs: int
    start: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "final", number("final", self.final, above=0, at_most=1))
        object.__setattr__(self, "start", number("start", self.start, above=0, at_most=1))
        object.__setattr__(self, "epochs", whole_number("epochs", self.epochs, at_least=0))

    def __call__(self, epoch: int) -> float:
        """Returns the density of an epoch, counted from 0."""
        if epoch >= self.epochs or self.final > self.start:
            return float(self.final)
        return self.final + (self.start - self.final) * (1 - epoch / self.epochs) ** 3
