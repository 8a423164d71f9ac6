"""Units drawn by a determinantal point process."""

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from tfprune.criteria.criterion_data import DataUse
from tfprune.criteria.kernel_axis import kernel_axes
from tfprune.criteria.registry import register
from tfprune.dpp import KDPP
from tfprune.errors import ConfigError
from tfprune.graph import ChannelGroups

_RIDGE = 0.01


@register("dpp_node")
@dataclass(frozen=True)
class DPPNode:
    """Keeps units whose filters are unlike, drawn by one k-DPP for each group.

    The kernel of a group is made of the inner products of its units' filters, scaled to length 1, plus a ridge as in
    the original's image experiments: W C W' where inputs are uncorrelated. The units drawn come first, in the order of
    the draw; the others follow by chance, for plans that need more.

    Attributes:
        density: Fraction of each group that is drawn; the `density` of the plan.
        seed: The same seed gives the same units.

    Reference:
        Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021).
    """

    name: ClassVar[str] = "dpp_node"
    uses_data: ClassVar[DataUse] = "never"
    density: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise ConfigError(f"density: expected a fraction above 0 and at most 1, received {self.density}")

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Between 1 and 2 for units that were drawn, between 0 and 1 for others, `[channels]`; NaN without a kernel."""
        products = _products(groups)
        rng = np.random.default_rng(self.seed)
        scores = np.full(groups.channels, np.nan)
        for group in groups:
            kernel = products[group.channels, group.channels]
            lengths = np.sqrt(np.diagonal(kernel))
            if not lengths.any():
                continue
            lengths = np.where(lengths > 0, lengths, 1.0)
            size = min(group.size, max(1, int(self.density * group.size + 1e-9)))
            kernel = kernel / np.outer(lengths, lengths) + _RIDGE * np.eye(group.size)
            drawn = KDPP(kernel, size).sample(1, seed=int(rng.integers(2**31)))[0, 0]
            part = rng.random(group.size)
            part[drawn] = 2 - np.arange(size) / size / 2
            scores[group.channels] = part
        return scores


def _products(groups: ChannelGroups) -> np.ndarray:
    """Inner products of the units' filters, summed over the kernels that make them, `[channels, channels]`."""
    total = np.zeros((groups.channels, groups.channels))
    for axis in kernel_axes(groups, ("out",)):
        rows = axis.rows(axis.variable)
        known = axis.channels >= 0
        units, rows = axis.channels[known], rows[known]
        np.add.at(total, (units[:, None], units[None, :]), rows @ rows.T)
    return total
