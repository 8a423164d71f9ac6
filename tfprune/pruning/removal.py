"""In which order the units of a model go, and which stay in any case."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfprune.graph import ChannelGroups
from tfprune.pruning.budget import WidthConstraints

NEVER = np.iinfo(np.int64).max
_GOLDEN_RATIO = (1 + 5**0.5) / 2
Scope = Literal["global", "local"]
"""Place in the order of a unit that is never removed."""
"""Whether units compete over the whole model, or every group loses the same fraction."""


def ranking(
    scores: np.ndarray, groups: ChannelGroups, scope: Scope, alive: np.ndarray, *, in_turn: bool = False
) -> np.ndarray:
    """The place of each unit in the order of removal, before any constraint.

    Args:
        scores: `[channels]`, higher is kept longer; equal ones go in the order of their numbers.
        groups: The groups of the channels.
        scope: `global`: places 1, 2, ... over all groups. `local`: a place for each fraction of their units that
            groups can lose, and all units that make up that fraction have it.
        alive: Bool `[channels]`; the others went before and come first.
        in_turn: For scope `local`: of the groups that can lose the same fraction one after the other does, in an order
            that spreads them over the model. Where the steps of a group are coarse the target is missed by one
            group's step, then, and not by those of all.

    Returns:
        Places `[channels]`, from 1. A cut at `n` removes the places up to `n`. `NEVER` in groups with a score that is
        not a number.
    """
    places = np.full(len(scores), NEVER)
    scored = np.ones(len(scores), bool)
    shares = np.zeros(len(scores))
    for group in groups:
        part = group.channels
        scored[part] = not np.isnan(scores[part]).any()
        order = np.lexsort((scores[part], alive[part]))
        shares[group.start + order] = np.arange(1, group.size + 1) / group.size
    if scope == "local":
        fractions = np.unique(shares[scored], return_inverse=True)[1]
        turns = _spread(len(groups))[groups.owner[scored]] if in_turn else 0
        places[scored] = fractions * len(groups) + turns + 1
    else:
        order = np.lexsort((scores, alive))
        order = order[scored[order]]
        places[order] = np.arange(1, len(order) + 1)
    return places


def _spread(count: int) -> np.ndarray:
    """A turn for each of so many things in a row, `[count]`, such that those up to any turn lie spread over the row."""
    return np.argsort(np.argsort(np.arange(count) * _GOLDEN_RATIO % 1))


@dataclass(frozen=True)
class Removal:
    """The order of removal with all constraints.

    Attributes:
        places: The place of each unit by its score alone, `[channels]`.
        removed_at: The first cut at which it really goes, `[channels]`: 0 where it went before, `NEVER` where it stays.
        first: The cut below which nothing new goes.
    """

    places: np.ndarray
    removed_at: np.ndarray
    first: int

    @classmethod
    def of(
        cls,
        places: np.ndarray,
        groups: ChannelGroups,
        constraints: WidthConstraints,
        protected: np.ndarray,
        alive: np.ndarray,
    ) -> "Removal":
        """Applies the constraints to a ranking.

        A group's widths go down step by step, from one allowed width to the next. All units of a step go when the
        ranking has asked for the last of them, so what a cut keeps holds all that a later cut keeps.

        Args:
            places: See `ranking`.
            groups: The groups of the channels.
            constraints: The allowed widths.
            protected: Units that stay in any case, bool `[channels]`.
            alive: Units that did not go before, bool `[channels]`.
        """
        removed_at = np.full(len(places), NEVER)
        for group in groups:
            free = group.start + np.flatnonzero(~protected[group.channels])
            free = free[np.argsort(places[free], kind="stable")]
            least = max(constraints.floors(group.size, group.multiplicity).values())
            asked = np.maximum(group.size - np.arange(len(free) + 1), least)
            gone = group.size - constraints.rounded_up(asked, group.size, group.multiplicity)
            needed = np.searchsorted(gone, np.arange(len(free)), side="right")
            goes = needed <= len(free)
            removed_at[free[goes]] = places[free[needed[goes] - 1]]
        removed_at[~alive] = 0
        gone_before = places[~alive & (places < NEVER)]
        return cls(places, removed_at, int(gone_before.max(initial=0)))

    @property
    def cuts(self) -> np.ndarray:
        """The cuts at which something changes, ascending; the first changes nothing."""
        return np.unique(np.append(self.removed_at[self.removed_at < NEVER], 0))

    def kept(self, cut: int) -> np.ndarray:
        """Bool `[channels]`: what stays."""
        return self.removed_at > cut

    def asked(self, cut: int) -> np.ndarray:
        """Bool `[channels]`: what would stay without constraints."""
        return self.places > max(cut, self.first)
