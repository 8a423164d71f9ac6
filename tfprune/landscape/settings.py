"""The settings of a landscape: what is measured, and how finely."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from tfprune.settings import Settings, require, setting

BatchNorm = Literal["batch", "moving", "recalibrated"]
"""The statistics of batch norms: of each batch; the stored moving averages; or measured again at each point."""

Precision = Literal["float32", "float64"]

_DIRECTIONS = {1: 10, 2: 1}  # by the number of dimensions


@dataclass(frozen=True)
class LandscapeSettings(Settings):
    """What is measured of a loss landscape; `section` and `curvature` explain it."""

    directions: int | None = setting(
        None,
        "Random directions of the sections, or planes of two directions each.",
        if_none="10 directions, 1 plane",
        group="sections",
        at_least=1,
        at_most=10_000,
    )
    dimensions: int = setting(1, "1 for curves, 2 for planes.", group="sections", at_least=1, at_most=2)
    points: int = setting(
        21,
        "Points along each axis, an odd number: the center is one of them.",
        group="sections",
        at_least=3,
        at_most=1001,
    )
    radius: float = setting(
        0.5,
        "The largest step; at 1 each filter is moved by its own norm, and many losses end near that of chance.",
        group="sections",
        above=0,
    )
    hessian: bool = setting(
        True,
        "Find the smallest and largest eigenvalue of the Hessian. Takes 30 to 80 products with it, each as long as "
        "two to four passes of training.",
        group="curvature",
    )
    tolerance: float = setting(
        1e-3,
        "Largest residual of an eigenvalue, as a fraction of the largest one by size.",
        group="curvature",
        above=0,
        below=1,
    )
    products: int = setting(
        500, "Stop when so many products with the Hessian did not suffice.", group="curvature", at_least=1
    )
    batch_norm: BatchNorm = setting(
        "batch",
        "Statistics of batch norms: batch (as in training), moving (stored averages, which fit the center only), or "
        "recalibrated (averages measured again at every point).",
        group="measurement",
    )
    dtype: Precision = setting("float32", "Number format of the computation; sums are in float64.", group="measurement")
    seed: int = setting(0, "Seed of the directions, and of the first vectors.", group="measurement", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.points % 2 == 1, "points", "an odd number, as the center is one of them", self.points)
        require(isfinite(self.radius), "radius", "a finite number", self.radius)

    @property
    def drawn(self) -> int:
        """How many curves or planes there are."""
        return _DIRECTIONS[self.dimensions] if self.directions is None else self.directions
