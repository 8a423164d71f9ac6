"""Initial weights by name: the ones that the papers on pruning at initialisation start from."""

import zlib
from dataclasses import dataclass

import keras

from tfprune.errors import ConfigError
from tfprune.models.scaled_distribution import ScaledDistribution

_STOCK = ("untruncated_normal", "truncated_normal", "uniform")


@dataclass(frozen=True)
class _Rule:
    """How one name draws.

    Attributes:
        distribution: Shape of the distribution.
        scale: Mean square times fan; `None` for 2, or the square of the gain that is asked for.
        mode: The fan; `None` for the one that is asked for.
        scales: Whether a scaled fan is heeded.
    """

    distribution: str
    scale: float | None = None
    mode: str | None = None
    scales: bool = True


_RULES = {
    "standard": _Rule("uniform", 1 / 3, "fan_in", scales=False),
    "kaiming_normal": _Rule("untruncated_normal"),
    "kaiming_uniform": _Rule("uniform", scales=False),
    "kaiming_laplace": _Rule("laplace"),
    "kaiming_constant_signed": _Rule("signed_constant"),
    "kaiming_constant_unsigned": _Rule("unsigned_constant"),
    "kaiming_truncated_normal": _Rule("truncated_normal"),
    "xavier_normal": _Rule("untruncated_normal", 1.0, "fan_avg", scales=False),
    "xavier_constant": _Rule("signed_constant", 1.0, "fan_avg", scales=False),
    "signed_constant": _Rule("signed_constant"),
    "unsigned_constant": _Rule("unsigned_constant"),
    "usc_bernoulli": _Rule("bernoulli"),
    "bernoulli": _Rule("bernoulli", 1.0, "unit", scales=False),
    "ones": _Rule("unsigned_constant", 1.0, "unit", scales=False),
}
_SMALL_NORMAL = "small_normal"


def initializer_names() -> tuple[str, ...]:
    """The names that `initializer` knows."""
    return (*_RULES, _SMALL_NORMAL)


def initializer(
    name: str,
    *,
    seed: int | None = None,
    mode: str = "fan_in",
    gain: float | None = None,
    fan_scale: float = 1.0,
) -> keras.initializers.Initializer:
    """An initializer by its name, Keras' own wherever it has one.

    | name | weights, with `fan` as `mode` says and `g` the gain, √2 unless given |
    | --- | --- |
    | `standard` | uniform in ±1/√fan_in (what PyTorch gives convolutions and dense layers) |
    | `kaiming_normal`, `kaiming_laplace`, `kaiming_uniform` | of mean 0 and variance g²/fan |
    | `kaiming_truncated_normal` | the same, the normal cut at two deviations |
    | `kaiming_constant_signed` or `signed_constant` | ±g/√fan with equal chances |
    | `kaiming_constant_unsigned` or `unsigned_constant` | g/√fan |
    | `usc_bernoulli` | g/√fan or 0 with equal chances |
    | `xavier_normal`, `xavier_constant` | of mean square 2/(fan_in + fan_out) |
    | `small_normal` | normal of deviation 0.01 |
    | `bernoulli`, `ones` | 0 or 1 with equal chances; 1 |

    Args:
        name: One of `initializer_names()`.
        seed: Seed; `None` for other weights every time.
        mode: `fan_in` or `fan_out`; `standard` and the `xavier` ones have fans of their own.
        gain: Root mean square times √fan of the `kaiming` and constant ones; `None` for √2.
        fan_scale: Factor of the fan of `kaiming_normal`, `kaiming_laplace` and the constants (not of the `xavier`
            ones). Where only a share `density` of the weights will work, `density` keeps the variance of what a
            layer gives; the code of the multi-prize tickets takes `1 - density`.

    Returns:
        The initializer.

    Raises:
        ConfigError: The name or the mode is unknown, or a number is not above 0.

    Example:
        >>> initializer("kaiming_normal", seed=0)((3, 3, 64, 64)).shape
        TensorShape([3, 3, 64, 64])

    Reference:
        Chen et al., Peek-a-Boo (ICLR 2022), and Diffenderfer & Kailkhura, Multi-Prize Lottery Ticket Hypothesis
        (ICLR 2021): the authors' code.
    """
    if name not in initializer_names():
        raise ConfigError(
            f"expected initial weights of {', '.join(initializer_names())}, received {name!r}; use one of these"
        )
    if mode not in ("fan_in", "fan_out"):
        raise ConfigError(f"expected mode fan_in or fan_out, received {mode!r}; use one of these")
    if not fan_scale > 0 or (gain is not None and not gain > 0):
        raise ConfigError(f"expected a gain and a scale of the fan above 0, received {gain} and {fan_scale}; mend them")
    if name == _SMALL_NORMAL:
        return keras.initializers.RandomNormal(0.0, 0.01, seed=seed)
    rule = _RULES[name]
    scale = rule.scale if rule.scale is not None else 2.0 if gain is None else gain**2
    scale /= fan_scale if rule.scales else 1.0
    make = keras.initializers.VarianceScaling if rule.distribution in _STOCK else ScaledDistribution
    return make(scale, rule.mode or mode, rule.distribution, seed=seed)


def layer_seed(seed: int | None, name: str) -> int | None:
    """The seed of one layer's weights, or `None` for none: layers of one shape must not start alike.

    Args:
        seed: The network's seed.
        name: The layer's name.

    Returns:
        A seed that depends on both.
    """
    return None if seed is None else zlib.crc32(f"{seed}/{name}".encode()) & 0x7FFFFFFF
