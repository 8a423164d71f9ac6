"""Criteria for residual blocks that use no data: the size of their kernels, and chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from tfprune.arguments import seed_number
from tfprune.criteria.registry import DataUse, Kind, register_criterion
from tfprune.graph import ResidualBlock
from tfprune.layers.kernels import prunable_kernels


@register_criterion("l1")
@dataclass(frozen=True)
class BlockL1:
    """Sum of the absolute values of a block's kernels.

    Blocks of more weights have higher scores.

    Reference:
        Kim et al., Shortened LLaMA: Depth Pruning for Large Language Models (2024, arXiv:2402.02834), where it is the
        baseline of magnitude.
    """

    kind: ClassVar[Kind] = "blocks"
    name: ClassVar[str] = "l1"
    uses_data: ClassVar[DataUse] = "never"

    def scores(self, model: keras.Model, blocks: Sequence[ResidualBlock], data: Any = None) -> np.ndarray:
        """Returns the scores `[blocks]`."""
        return np.array([sum(map(_size, _kernels(block))) for block in blocks], float)


def _kernels(block: ResidualBlock) -> list[keras.Variable]:
    """Returns the kernels of a block, each once."""
    held = [each for call in block.calls for each in prunable_kernels(call.layer).values()]
    return list({id(each.variable): each.variable for each in held}.values())


def _size(kernel: keras.Variable) -> float:
    return float(np.abs(np.asarray(kernel, np.float64)).sum())


@register_criterion("random")
@dataclass(frozen=True)
class RandomBlocks:
    """Random scores, the baseline of every other criterion.

    Attributes:
        seed: The same seed gives the same scores.
    """

    kind: ClassVar[Kind] = "blocks"
    name: ClassVar[str] = "random"
    uses_data: ClassVar[DataUse] = "never"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", seed_number(self.seed))

    def scores(self, model: keras.Model, blocks: Sequence[ResidualBlock], data: Any = None) -> np.ndarray:
        """Returns the scores `[blocks]`, between 0 and 1."""
        return np.random.default_rng(self.seed).random(len(blocks))
