"""How much of a model a plan keeps: budgets, the totals they refer to, and limits of the width of each layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, cast

from tfprune.arguments import whole_number
from tfprune.errors import ConfigError
from tfprune.ops.density import at_most
from tfprune.reading import Count
from tfprune.reprs import short

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
        if isinstance(number, bool) or not isinstance(number, Real) or not 0 < number <= 1:
            raise ConfigError(
                f"{self.measure}: expected the fraction to keep, above 0 and at most 1, received {short(number)}; "
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
        channels: Width of its groups' first layers, each layer counted once.
        params: Parameters.
        flops: FLOPs for one example, as `tfprune.complexity` counts.
    """

    channels: Count
    params: Count
    flops: Count

    def of(self, measure: str) -> int:
        """Returns the total that a budget's measure refers to."""
        return {"flops": self.flops, "params": self.params, "density": self.channels}[measure]


@dataclass(frozen=True)
class WidthConstraints:
    """Limits of the width of each layer that produces prunable channels.

    Attributes:
        round_to: A layer keeps a multiple of this, or its whole width; multiples of 8 run faster on most processors.
        min_channels: A layer keeps at least this many channels; a narrower one keeps all.
        max_sparsity: The largest fraction of its width that a layer may lose; or such fractions by the names of layers,
            or patterns such as `stage1_*`. The first one that matches a layer counts, others have no limit.

    Raises:
        ConfigError: A limit is out of range.
    """

    round_to: int = 1
    min_channels: int = 1
    max_sparsity: float | Mapping[str, float] = 1.0

    def __post_init__(self) -> None:
        for name in ("round_to", "min_channels"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        limits: Any = self.max_sparsity
        if isinstance(limits, Mapping):
            limits = {name: _share(each, f" for {name}") for name, each in limits.items()}
        else:
            limits = _share(limits)
        object.__setattr__(self, "max_sparsity", limits)

    def removable(self, width: int, limit: float) -> tuple[int, str]:
        """Returns how many positions of its width a layer may lose, and the name of the limit that says so.

        Args:
            width: The layer's whole width.
            limit: The largest fraction of it that the layer may lose.
        """
        by_width, by_share = max(0, width - self.min_channels), at_most(width, limit)
        return (by_width, "min_channels") if by_width <= by_share else (by_share, "max_sparsity")

    def text(self, name: str) -> str:
        """Returns a limit with its value."""
        value = getattr(self, name)
        if not isinstance(value, Mapping):
            return f"{name}={value:g}"
        return f"{name}={{{', '.join(f'{pattern}: {limit:g}' for pattern, limit in value.items())}}}"


def _share(value: Any, whose: str = "") -> float:
    """Returns the largest fraction to remove as a float; raises `ConfigError` if it is none."""
    number: Any = value if isinstance(value, Real) and not isinstance(value, bool) else -1
    if not 0 <= number <= 1:
        raise ConfigError(
            f"max_sparsity: expected the largest fraction of a layer's width to remove{whose}, between 0 and 1, "
            f"received {short(value)}"
        )
    return float(value)
