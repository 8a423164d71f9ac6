"""Roots of sums of squared weights."""

from dataclasses import dataclass
from typing import ClassVar

from tfprune.criteria.magnitude import Magnitude
from tfprune.criteria.registry import register


@register("l2")
@dataclass(frozen=True)
class L2(Magnitude):
    """The L2 norm of the kernel slices of a unit, combined over the kernels that make and read it.

    Attributes:
        roles: See `Magnitude`.
        reduce: See `Magnitude`.
        normalize: See `Magnitude`.

    Reference:
        Fang et al., DepGraph: Towards Any Structural Pruning (CVPR 2023), magnitude of groups.
    """

    name: ClassVar[str] = "l2"
    power: ClassVar[int] = 2
