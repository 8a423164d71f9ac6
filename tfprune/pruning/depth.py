"""Which residual blocks of a model are dropped: the decision, as a part of a plan, and how it is carried out."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tfprune.arguments import number
from tfprune.criteria import get_block_criterion
from tfprune.criteria.data import reject_unused_data
from tfprune.errors import ConfigError, PruningError
from tfprune.graph import Match, ModelClassWarning, ResidualBlock, residual_blocks, without_blocks
from tfprune.graph.calls import check_finite_weights, is_within
from tfprune.graph.model_settings import remade_without
from tfprune.ops.density import kept_count
from tfprune.pruning.cut import move_optimizer
from tfprune.pruning.protection import IGNORED, WIDTH_KEPT
from tfprune.reading import Name
from tfprune.reprs import short, short_repr
from tfprune.tables import listed

HELD = (IGNORED, WIDTH_KEPT)
"""The reasons of blocks that stay whatever their score is: layers in them that the user wants to keep."""


@dataclass(frozen=True)
class BlockPlan:
    """What a plan does to one residual block.

    Attributes:
        name: Its name, as in `residual_blocks`.
        score: Its score; higher is kept.
        keep: Whether it stays.
        held: Why it stays whatever its score is; empty if its score decides.

    Raises:
        PruningError: The reason does not exist, or is one of a block that does not stay.
    """

    name: Name
    score: float
    keep: bool
    held: str = ""

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if self.held and (self.held not in HELD or not self.keep):
            raise PruningError(
                f"held: expected none, or of a block that stays one of {', '.join(HELD)}, received {short(self.held)}"
            )


@dataclass(frozen=True)
class DepthPlan:
    """Which residual blocks of a model stay.

    Attributes:
        fraction: The fraction of them that was to stay at least.
        criterion: Name of the criterion that scored them.
        blocks: What happens to each, in the order of the model.

    Raises:
        PruningError: Two blocks have one name, or fewer stay than the fraction says.
    """

    fraction: float
    criterion: Name
    blocks: tuple[BlockPlan, ...]

    __repr__ = short_repr

    def __post_init__(self) -> None:
        object.__setattr__(self, "fraction", number("fraction", self.fraction, above=0, at_most=1))
        names = [block.name for block in self.blocks]
        if twice := [name for index, name in enumerate(names) if name in names[:index]]:
            raise PruningError(f"blocks: expected blocks of different names, received {short(twice[0])} twice")
        least, kept = kept_count(len(names), self.fraction), len(names) - len(self.dropped)
        if kept < least:
            raise PruningError(f"blocks: expected at least {least} of {len(names)} that stay, received {kept}")

    @property
    def dropped(self) -> tuple[str, ...]:
        """The names of the blocks that do not stay."""
        return tuple(block.name for block in self.blocks if not block.keep)

    def found_in(
        self, model: keras.Model, match: Match = "name", *, keep_classes: bool = False
    ) -> tuple[ResidualBlock, ...]:
        """Returns the blocks of a model that are dropped.

        Args:
            model: A model of the same layers.
            match: `name` or `position`, see `PruningPlan.apply`.
            keep_classes: See `residual_blocks`.

        Raises:
            PruningError: The model has other blocks.
        """
        blocks = residual_blocks(model, keep_classes=keep_classes)
        meant, found = [block.name for block in self.blocks], [block.name for block in blocks]
        if meant != found and (match == "name" or len(meant) != len(found)):
            raise PruningError(
                f"the plan was made for a model of {_described(meant)} and does not fit {model.name}, which has "
                f"{_described(found)}; make a plan for this model"
                + (', or match them by position: match="position"' if len(meant) == len(found) else "")
            )
        return tuple(block for block, plan in zip(blocks, self.blocks, strict=True) if not plan.keep)


def _described(names: Sequence[str]) -> str:
    return f"{len(names)} residual blocks" + (f" ({listed(names)})" if names else "")


class BlockScorer:
    """How many residual blocks are kept, and the criterion that decides which, with its data.

    Args:
        fraction: The fraction of the blocks to keep at least.
        criterion: Name of a criterion for blocks, or an object with a method `scores(model, blocks, data)`.
        data: Data for it.

    Raises:
        ConfigError: The fraction is out of range, or there is no such criterion.
    """

    def __init__(self, fraction: float, criterion: Any, data: Any = None) -> None:
        self.fraction = number("depth", fraction, above=0, at_most=1)
        self._criterion = get_block_criterion(criterion)
        self.uses_data = self._criterion.uses_data != "never"
        self._data = data if self.uses_data else None

    def check_data(self, data: Any) -> None:
        """Raises `ConfigError` if there is data that the criterion does not use."""
        reject_unused_data(self._criterion, data)

    def plan(self, model: keras.Model, held: Mapping[str, Iterable[str]], *, keep_classes: bool = False) -> DepthPlan:
        """Decides which blocks of a model are dropped: those of the lowest scores, the first ones of equal scores.

        Args:
            model: A functional or sequential model. It is not changed.
            held: Names of layers whose blocks stay, by the reason.
            keep_classes: See `residual_blocks`.

        Raises:
            ConfigError: The scores are no finite numbers, one for each block.
            PruningError: The model has no block, or too many stay.
        """
        blocks = residual_blocks(model, keep_classes=keep_classes)
        if not blocks:
            raise PruningError(
                f"depth={self.fraction:g}: expected a model with residual blocks that can be dropped (sums x + f(x), "
                f"or layers that hold one), {model.name} has none; leave depth out"
            )
        check_finite_weights(model)
        reasons = [_reason(block, held) for block in blocks]
        scores = self._scores(model, blocks)
        free = [index for index, reason in enumerate(reasons) if not reason]
        count = len(blocks) - kept_count(len(blocks), self.fraction)
        if count > len(free):
            raise PruningError(
                f"depth={self.fraction:g} cannot be met: {len(blocks) - len(free)} of {len(blocks)} residual blocks "
                f"have layers to ignore or of kept width; ask for depth={(len(blocks) - len(free)) / len(blocks):.3g} "
                "or more, or name fewer layers"
            )
        gone = set(sorted(free, key=lambda index: scores[index])[:count])
        plans = (
            BlockPlan(block.name, float(score), index not in gone, reason)
            for index, (block, score, reason) in enumerate(zip(blocks, scores, reasons, strict=True))
        )
        return DepthPlan(self.fraction, str(self._criterion.name), tuple(plans))

    def _scores(self, model: keras.Model, blocks: Sequence[ResidualBlock]) -> np.ndarray:
        scores = np.asarray(self._criterion.scores(model, blocks, self._data), np.float64)
        if scores.shape != (len(blocks),) or not np.isfinite(scores).all():
            raise ConfigError(
                f"criterion {self._criterion.name}: expected one finite score per residual block, of shape "
                f"({len(blocks)},), received {short(scores.tolist())}"
            )
        return scores


def _reason(block: ResidualBlock, held: Mapping[str, Iterable[str]]) -> str:
    """Returns why a block stays whatever its score is; empty if its score decides."""
    for reason, names in held.items():
        for layer in block.layers:
            if any(is_within(name, layer) for name in names):
                return reason
    return ""


@contextmanager
def held_back() -> Iterator[list[warnings.WarningMessage]]:
    """Keeps warnings back, to be given to `in_its_class` once it is known which of them hold."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ModelClassWarning)
        yield said


def in_its_class(
    model: keras.Model, small: keras.Model, dropped: Sequence[str], said: Iterable[warnings.WarningMessage] = ()
) -> keras.Model:
    """Returns a smaller model made by the class of the whole one, if a setting of it says how many blocks there are.

    Args:
        model: The whole model.
        small: The smaller one.
        dropped: The names of the blocks that it lacks.
        said: Warnings that came with the smaller model; they are given, except those that hold no more.
    """
    new = remade_without(model, small, dropped) if dropped and type(small) is not type(model) else None
    for each in said:
        if new is None or not isinstance(each.message, ModelClassWarning):
            warnings.warn(each.message, stacklevel=3)
    return small if new is None else new


def drop_blocks(model: keras.Model, blocks: Iterable[ResidualBlock], *, keep_optimizer: bool = False) -> keras.Model:
    """Copies a model without some of its residual blocks, and perhaps with the state of its optimizer.

    Args:
        model: The model. It is not changed.
        blocks: Some of its residual blocks; if there are none, the model itself is returned.
        keep_optimizer: Carry the state of a compiled model's optimizer over.

    Raises:
        PruningError: The optimizer's state cannot be carried over.
    """
    blocks = tuple(blocks)
    if not blocks:
        return model
    copies: dict[int, keras.Variable] = {}
    small = without_blocks(model, blocks, copies)
    if keep_optimizer:
        move_optimizer(model, small, copies)
    return small
