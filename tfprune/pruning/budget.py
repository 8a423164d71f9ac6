"""How much of a model a plan keeps: budgets, the totals they refer to, and limits of the width of each group."""

import math
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from tfprune.errors import ConfigError
from tfprune.ops.density import at_most

Measure = Literal["flops", "params", "density"]
"""What is counted: FLOPs (multiply-adds), parameters, or channels."""

MEASURES: dict[str, str] = {"flops": "FLOPs", "params": "parameters", "density": "channels"}
"""What each measure counts, in words."""


@dataclass(frozen=True)
class Budget:
    """The fraction of the whole model's cost that may be kept.

    Attributes:
        measure: What is counted.
        fraction: How much of it is kept, above 0 and at most 1.

    Raises:
        ConfigError: The fraction is out of range.
    """

    measure: Measure
    fraction: float

    def __post_init__(self) -> None:
        number = self.fraction
        if isinstance(number, bool | str) or not math.isfinite(number) or not 0 < number <= 1:
            raise ConfigError(
                f"{self.measure}: expected the fraction to keep, above 0 and at most 1, received {number!r}; "
                "to keep half, write 0.5"
            )
        object.__setattr__(self, "fraction", float(number))

    @classmethod
    def from_fractions(cls, flops: float | None, params: float | None, density: float | None) -> "Budget":
        """Returns the budget for exactly one fraction; raises `ConfigError` if none or several are given."""
        given = {
            name: value for name, value in zip(MEASURES, (flops, params, density), strict=True) if value is not None
        }
        if len(given) != 1:
            received = ", ".join(f"{name}={value}" for name, value in given.items()) or "none"
            raise ConfigError(
                f"expected exactly one of flops, params and density (the fraction to keep), received {received}"
            )
        ((name, value),) = given.items()
        return cls(cast(Measure, name), value)

    def met(self, cost: int, whole: int) -> bool:
        """Returns whether `cost` is at most the fraction of `whole`."""
        return not whole or cost <= at_most(whole, self.fraction)

    def __str__(self) -> str:
        return f"{self.measure}={self.fraction:g}"


@dataclass(frozen=True)
class Totals:
    """Size of a model.

    Attributes:
        channels: Channels of its groups, those of one group counted once.
        params: Parameters.
        flops: FLOPs for one example, as `tfprune.complexity` counts.
    """

    channels: int
    params: int
    flops: int

    def of(self, measure: str) -> int:
        """Returns the total that a budget's measure refers to."""
        return {"flops": self.flops, "params": self.params, "density": self.channels}[measure]


@dataclass(frozen=True)
class WidthConstraints:
    """Limits of the number of channels that a group keeps.

    Attributes:
        round_to: A group keeps a multiple of this, or all channels; multiples of 8 run faster on most processors.
        min_channels: A group keeps at least this many channels; a narrower group keeps all.
        max_sparsity: The largest fraction of its channels that a group may lose.

    Raises:
        ConfigError: A limit is out of range.
    """

    round_to: int = 1
    min_channels: int = 1
    max_sparsity: float = 1.0

    def __post_init__(self) -> None:
        for name in ("round_to", "min_channels"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ConfigError(f"{name}: expected a whole number of at least 1, received {value!r}")
            object.__setattr__(self, name, int(value))
        if isinstance(self.max_sparsity, bool | str) or not 0 <= self.max_sparsity <= 1:
            raise ConfigError(
                "max_sparsity: expected the largest fraction of a group to remove, between 0 and 1, "
                f"received {self.max_sparsity!r}"
            )
        object.__setattr__(self, "max_sparsity", float(self.max_sparsity))

    def floors(self, size: int, multiplicity: int) -> dict[str, int]:
        """Returns how many prunable channels of a group are kept at least, by the name of the limit.

        Args:
            size: Prunable channels of the group.
            multiplicity: How many channels of the layers each of them stands for.
        """
        return {
            "min_channels": min(size, math.ceil(self.min_channels / multiplicity)),
            "max_sparsity": size - at_most(size, self.max_sparsity),
        }

    def rounded_up(self, kept: np.ndarray, size: int, multiplicity: int) -> np.ndarray:
        """Returns the smallest allowed numbers of prunable channels that are not below `kept`."""
        step = self.round_to // math.gcd(self.round_to, multiplicity)
        return np.minimum(-(-np.asarray(kept) // step) * step, size)
