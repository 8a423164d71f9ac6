"""What a criterion for residual blocks is, and what the built-in ones share."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np

from tfprune.criteria.registry import DataUse, given_criterion
from tfprune.errors import ConfigError
from tfprune.graph import Call, Forward, ResidualBlock
from tfprune.reprs import short_repr


@runtime_checkable
class BlockCriterion(Protocol):
    """Scores the residual blocks of a model.

    Attributes:
        name: Its name in the registry.
        uses_data: Whether it uses data, see `DataUse`.
    """

    name: str
    uses_data: DataUse

    def scores(self, model: keras.Model, blocks: Sequence[ResidualBlock], data: Any = None) -> np.ndarray:
        """Scores each block.

        Args:
            model: A functional or sequential model. It is not changed.
            blocks: Its residual blocks.
            data: Batches `(x, y)` or arrays, see `CriterionData`.

        Returns:
            Float64 `[blocks]`, higher is kept.
        """
        ...


def get_block_criterion(given: Any) -> BlockCriterion:
    """Returns the criterion for blocks that a name, an object or a class stands for; the last two with their settings.

    Raises:
        ConfigError: There is no such criterion.

    Example:
        >>> get_block_criterion("cosine").name
        'cosine'
    """
    found: BlockCriterion = given_criterion(given, "blocks", "depth_criterion")
    return found


def finite_scores(scores: np.ndarray, blocks: Sequence[ResidualBlock]) -> np.ndarray:
    """Returns the scores; raises `ConfigError` if one is not finite."""
    wrong = [block.name for block, score in zip(blocks, scores, strict=True) if not np.isfinite(score)]
    if wrong:
        raise ConfigError(
            f"data: expected finite values and losses, received NaN or infinity in block {wrong[0]}; fix the data or "
            "the model"
        )
    return scores


@dataclass(frozen=True, eq=False)
class BlockEnds:
    """Where blocks begin and end in the calls of a forward pass.

    Attributes:
        index: Index of the block that ends in a call, by the `id` of the call.
        calls: The call in which each block ends.
        passed: What each block passes on without its layers, see `ResidualBlock.passed`.
    """

    index: dict[int, int]
    calls: tuple[Call, ...]
    passed: tuple[tuple[int, ...], ...]

    __repr__ = short_repr

    @classmethod
    def of(cls, forward: Forward, blocks: Iterable[ResidualBlock]) -> "BlockEnds":
        """Returns the ends of blocks in the calls that a forward pass runs, which may have other symbolic tensors."""
        by_node = {id(call.node): call for call in forward.calls}
        found = [(by_node[id(block.call.node)], block.passed) for block in blocks]
        calls = tuple(call for call, _ in found)
        return cls({id(call): index for index, call in enumerate(calls)}, calls, tuple(passed for _, passed in found))

    def pair(self, index: int) -> tuple[int, int]:
        """Returns the `id`s of the symbolic tensors that a block reads and makes."""
        call = self.calls[index]
        return id(call.inputs[self.passed[index][0]]), id(call.outputs[0])

    def without(self, index: int) -> Iterator[tuple[int, int]]:
        """Yields the `id`s of the outputs of a block, each with that of the tensor that takes its place."""
        call = self.calls[index]
        for position, tensor in zip(self.passed[index], call.outputs, strict=True):
            yield id(tensor), id(call.inputs[position])
