"""Which widths a layer may have after pruning."""

import math
from dataclasses import dataclass

import numpy as np

from tfprune.errors import ConfigError


@dataclass(frozen=True)
class WidthConstraints:
    """Limits of the number of channels that stay in a group.

    Attributes:
        round_to: What stays is a multiple of this, or the group stays whole. Processors like 8 or 16.
        min_channels: At least so many channels stay; a narrower group stays whole.
        max_sparsity: The largest fraction of its channels that a group may lose.

    Raises:
        ConfigError: A limit has no sense.
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
        """How many units of a group stay at least, by the name of the limit that says so.

        Args:
            size: Prunable units of the group.
            multiplicity: Channels per unit.
        """
        removable = int(np.searchsorted(np.arange(size + 1) / size, self.max_sparsity, side="right")) - 1
        return {
            "min_channels": min(size, math.ceil(self.min_channels / multiplicity)),
            "max_sparsity": size - removable,
        }

    def rounded_up(self, units: np.ndarray, size: int, multiplicity: int) -> np.ndarray:
        """The least allowed numbers of units that are not below `units`."""
        step = self.round_to // math.gcd(self.round_to, multiplicity)
        return np.minimum(-(-np.asarray(units) // step) * step, size)
