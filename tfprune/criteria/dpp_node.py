"""Units drawn by a determinantal point process."""

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from tfprune.criteria.criterion_data import CriterionData, DataUse
from tfprune.criteria.node_kernels import activation_kernels, filter_kernels
from tfprune.criteria.registry import register
from tfprune.dpp import KDPP
from tfprune.errors import ConfigError
from tfprune.graph import ChannelGroups

_RIDGE = 0.01


@register("dpp_node")
@dataclass(frozen=True)
class DPPNode:
    """Keeps units that are unlike, drawn by one k-DPP for each group.

    With data the kernel of a group is the paper's, W C W': the mean products of its units' pre-activations over
    examples and positions, see `activation_kernels`. Without data inputs are taken to be uncorrelated, C = I, and the
    products are those of the units' filters. Either is rescaled to a diagonal of ones, where the original rescales
    filters, and gets a ridge as in the original's image experiments. The units drawn come first, in the order of the
    draw; the others follow by chance, for plans that need more.

    Attributes:
        density: Fraction of each group that is drawn; the `density` of the plan.
        seed: The same seed gives the same units.
        batches: Look at so many batches of the data only. Default: all.

    Reference:
        Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021).
    """

    name: ClassVar[str] = "dpp_node"
    uses_data: ClassVar[DataUse] = "optional"
    density: float = 0.5
    seed: int = 0
    batches: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise ConfigError(f"density: expected a fraction above 0 and at most 1, received {self.density}")

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Between 1 and 2 for units that were drawn, between 0 and 1 for others, `[channels]`; NaN without a kernel.

        Raises:
            ConfigError: The data cannot be used, or a layer's pre-activations cannot be seen.
        """
        if data is None:
            kernels = filter_kernels(groups)
        else:
            kernels = activation_kernels(model, groups, CriterionData.required(data, self.name), self.batches)
        rng = np.random.default_rng(self.seed)
        scores = np.full(groups.channels, np.nan)
        for group, kernel in zip(groups, kernels, strict=True):
            if kernel.diagonal().any():
                scores[group.channels] = self._scores(kernel, rng)
        return scores

    def _scores(self, kernel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        count = len(kernel)
        lengths = np.sqrt(kernel.diagonal())
        lengths = np.where(lengths > 0, lengths, 1.0)
        size = min(count, max(1, int(self.density * count + 1e-9)))
        kernel = kernel / np.outer(lengths, lengths) + _RIDGE * np.eye(count)
        drawn = KDPP(kernel, size).sample(1, seed=int(rng.integers(2**31)))[0, 0]
        scores = rng.random(count)
        scores[drawn] = 2 - np.arange(size) / size / 2
        return scores
