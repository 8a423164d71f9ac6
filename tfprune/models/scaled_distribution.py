"""Random weights whose size follows from a kernel's fan, in shapes that Keras' own initializer does not know."""

import random
from typing import Any

import keras
from keras import ops

from tfprune.errors import ConfigError

_MODES = ("fan_in", "fan_out", "fan_avg", "unit")
_SHAPES = ("laplace", "signed_constant", "unsigned_constant", "bernoulli")


@keras.saving.register_keras_serializable(package="tfprune")
class ScaledDistribution(keras.initializers.Initializer):
    """What `keras.initializers.VarianceScaling` is for normal and uniform weights, for other distributions.

    The mean square of the weights is `scale / fan`: of the Laplace distribution its variance, of the constants their
    square; `bernoulli` gives a constant or zero, with equal chances, and its constant counts.

    Args:
        scale: Mean square times fan.
        mode: Which fan: `fan_in`, `fan_out`, `fan_avg` for their mean, or `unit` for 1.
        distribution: `laplace`, `signed_constant` (signs with equal chances), `unsigned_constant` or `bernoulli`.
        seed: Seed; `None` draws one.

    Raises:
        ConfigError: The distribution or the mode is unknown, or `scale` is not above 0.

    Example:
        >>> weights = ScaledDistribution(2.0, "fan_in", "signed_constant", seed=1)((3, 3, 8, 16))
        >>> bool(abs(float(weights[0, 0, 0, 0])) == (2 / 72) ** 0.5)
        True

    Reference:
        He et al., Delving Deep into Rectifiers (ICCV 2015), for the scale; Ramanujan et al., What's Hidden in a
        Randomly Weighted Neural Network? (CVPR 2020), for the signed constant.
    """

    def __init__(self, scale: float, mode: str, distribution: str, seed: int | None = None) -> None:
        if distribution not in _SHAPES:
            raise ConfigError(f"expected a distribution of {', '.join(_SHAPES)}, received {distribution!r}; use one")
        if mode not in _MODES:
            raise ConfigError(f"expected a mode of {', '.join(_MODES)}, received {mode!r}; use one")
        if not scale > 0:
            raise ConfigError(f"expected a scale above 0, received {scale}; give a positive one")
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.seed = seed
        self._drawn = random.randrange(2**31) if seed is None else seed

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Any:
        """Weights of a kernel's shape `[..., in, out]`; the same ones at every call."""
        magnitude = (self.scale / fan_of(shape, self.mode)) ** 0.5
        dtype = keras.backend.standardize_dtype(dtype or keras.config.floatx())
        if self.distribution == "unsigned_constant":
            return ops.full(shape, magnitude, dtype)
        uniform = keras.random.uniform(
            (2, *shape) if self.distribution == "laplace" else shape, dtype=dtype, seed=self._drawn
        )
        if self.distribution == "bernoulli":
            return ops.where(uniform < 0.5, ops.cast(magnitude, dtype), ops.cast(0, dtype))
        if self.distribution == "signed_constant":
            return ops.where(uniform < 0.5, ops.cast(-magnitude, dtype), ops.cast(magnitude, dtype))
        # a Laplace variable is an exponential one with a random sign; its variance is twice its scale's square
        exponential = -ops.log(1 - uniform[0]) * ops.cast(magnitude / 2**0.5, dtype)
        return ops.where(uniform[1] < 0.5, -exponential, exponential)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"scale": self.scale, "mode": self.mode, "distribution": self.distribution, "seed": self.seed}


def fan_of(shape: tuple[int, ...], mode: str) -> float:
    """The fan of a kernel `[..., in, out]`: entries that an output reads, or that read an input.

    Args:
        shape: The kernel's shape; of one axis, that is both.
        mode: `fan_in`, `fan_out`, `fan_avg` or `unit`.

    Returns:
        The fan.
    """
    positions = 1
    for size in shape[:-2]:
        positions *= size
    incoming, outgoing = positions * shape[-2 if len(shape) > 1 else -1], positions * shape[-1]
    return {"fan_in": incoming, "fan_out": outgoing, "fan_avg": (incoming + outgoing) / 2, "unit": 1}[mode]
