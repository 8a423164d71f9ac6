"""How much of a model is to stay."""

import math
from dataclasses import dataclass
from typing import Literal, cast

from tfprune.errors import ConfigError

Measure = Literal["flops", "params", "density"]
"""What is counted: FLOPs, parameters, or channels."""

MEASURES: dict[str, str] = {"flops": "FLOPs", "params": "parameters", "density": "channels"}
"""What each measure counts, in words."""


@dataclass(frozen=True)
class Budget:
    """The fraction of the whole model's cost that may stay.

    Attributes:
        measure: What is counted.
        fraction: How much of it is kept, above 0 and at most 1.

    Raises:
        ConfigError: The fraction is no such number.
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
    def of(cls, flops: float | None, params: float | None, density: float | None) -> "Budget":
        """The budget that a user gave: exactly one of the three fractions."""
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
        """Whether `cost` is at most the fraction of `whole`."""
        # A quotient rounds as the fraction did: 29 of 100 is at most 0.29, though 0.29 * 100 < 29.
        return not whole or cost / whole <= self.fraction

    def __str__(self) -> str:
        return f"{self.measure}={self.fraction:g}"
