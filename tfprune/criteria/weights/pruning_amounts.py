"""How many weights stay after each iteration."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tfprune.errors import ConfigError

Schedule = Literal["exponential", "linear"]
Scope = Literal["global", "local"]


class PruningAmounts:
    """The numbers of weights to keep, iteration by iteration.

    Args:
        sizes: How many weights each kernel has.
        density: Fraction to keep in the end.
        kept: In its place, how many.
        iterations: How many iterations.
        schedule: `exponential` or `linear`.
        scope: `global` or `local`.

    Attributes:
        densities: After each iteration.
        kept: `[iterations, 1]` or, if local, `[iterations, kernels]`, int64.

    Raises:
        ConfigError: Not exactly one of density and kept is given, or it is out of range.

    Example:
        >>> PruningAmounts([100, 10], 0.25, None, 2, "exponential", "global").kept.tolist()
        [[55], [28]]

    Reference:
        Tanaka et al., SynFlow (NeurIPS 2020), section 6; Chen et al., Peek-a-Boo (ICLR 2022), the authors'
        `prune_loop`: `int((1 - density) * n)` go.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        density: float | None,
        kept: int | None,
        iterations: int,
        schedule: Schedule,
        scope: Scope,
    ) -> None:
        parts = np.array([sum(sizes)] if scope == "global" else sizes, np.int64)
        if (density is None) == (kept is None):
            raise ConfigError("expected one of density and kept, received none or both; give density=0.1")
        if kept is not None:
            density = _density_of(kept, parts)
        assert density is not None
        if isinstance(density, bool) or not isinstance(density, (int, float, np.number)) or not 0 < density <= 1:
            raise ConfigError(
                f"density: expected the fraction of weights to keep, above 0 and at most 1, received {density!r}; to "
                "keep a tenth, write 0.1"
            )
        times = [(step + 1) / iterations for step in range(iterations)]
        target = float(density)
        self.densities = tuple(
            target**time if schedule == "exponential" else 1.0 - (1.0 - target) * time for time in times
        )
        self.kept = np.array([[size - int((1.0 - part) * size) for size in parts] for part in self.densities], np.int64)
        if kept is not None:
            self.kept[-1] = kept
        if (self.kept < 1).any():
            raise ConfigError(f"density: expected one that keeps a weight at least, received {density!r}; raise it")


def _density_of(kept: int, parts: np.ndarray) -> float:
    if len(parts) > 1:
        raise ConfigError(
            "kept: expected scope='global', received 'local', for which it does not say enough; give density"
        )
    if isinstance(kept, bool) or not isinstance(kept, (int, np.integer)) or not 1 <= kept <= parts[0]:
        raise ConfigError(f"kept: expected a whole number from 1 to {parts[0]}, received {kept!r}")
    return kept / int(parts[0])
