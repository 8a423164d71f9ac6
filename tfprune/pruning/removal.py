"""The order in which channels are removed: by score alone (`ranking`), and with all limits (`Removal`)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfprune.graph import ChannelGroups
from tfprune.pruning.budget import WidthConstraints
from tfprune.pruning.width_steps import WidthSteps
from tfprune.pruning.widths import Widths
from tfprune.reprs import short_repr

Scope = Literal["global", "local"]
"""Whether channels compete over the whole model, or every group loses the same fraction."""

NEVER = np.iinfo(np.int64).max
"""Rank of a channel that is never removed."""

_GOLDEN_RATIO = (1 + 5**0.5) / 2


def ranking(
    scores: np.ndarray, groups: ChannelGroups, scope: Scope, alive: np.ndarray, *, in_turn: bool = False
) -> np.ndarray:
    """Ranks the channels in the order of removal, before any constraint.

    Args:
        scores: `[channels]`, higher is kept longer; equal ones are removed in the order of their numbers.
        groups: The groups of the channels.
        scope: `global`: ranks 1, 2, ... over all groups. `local`: one rank for each fraction of their channels that
            groups can lose, which all channels that make up that fraction share.
        alive: Bool `[channels]`; the others were removed before and come first.
        in_turn: For scope `local`: groups that can lose the same fraction do so one after the other, in an order that
            spreads them over the model. If groups shrink in large steps, the target is then missed by one group's step
            and not by those of all.

    Returns:
        Ranks `[channels]`, from 1. A cut at `n` removes the ranks up to `n`. `NEVER` in groups with a score that is not
        a number.
    """
    ranks = np.full(len(scores), NEVER)
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
        ranks[scored] = fractions * len(groups) + turns + 1
    else:
        order = np.lexsort((scores, alive))
        order = order[scored[order]]
        ranks[order] = np.arange(1, len(order) + 1)
    return ranks


def _spread(count: int) -> np.ndarray:
    """Returns a removal order of `count` items, as their ranks, in which every prefix is spread evenly."""
    return np.argsort(np.argsort(np.arange(count) * _GOLDEN_RATIO % 1))


@dataclass(frozen=True)
class Removal:
    """The order of removal with all constraints.

    Attributes:
        ranks: The rank of each channel by its score alone, `[channels]`.
        removed_at: The first cut that removes it, `[channels]`: 0 if it was removed before, `NEVER` if it is kept.
        first: The cut below which nothing more is removed.
        coarse: The steps of parts of the model in which layers lose several positions at once; each step is the
            channels that go together, `[n]`. The steps of one part are in the order of removal.
    """

    ranks: np.ndarray
    removed_at: np.ndarray
    first: int
    coarse: tuple[tuple[np.ndarray, ...], ...] = ()

    __repr__ = short_repr

    @classmethod
    def from_ranking(
        cls,
        ranks: np.ndarray,
        widths: Widths,
        constraints: WidthConstraints,
        protected: np.ndarray,
        alive: np.ndarray,
    ) -> "Removal":
        """Applies the constraints to a ranking.

        Channels that meet in some layers are removed step by step, from allowed widths of these layers to the next. All
        channels of a step are removed when the ranking reaches the last of them, so a cut keeps all that a later cut
        keeps.

        Args:
            ranks: See `ranking`.
            widths: The widths of the layers.
            constraints: The allowed ones.
            protected: Channels that are kept in any case, bool `[channels]`.
            alive: Channels that were not removed before, bool `[channels]`.
        """
        removed_at = np.full(len(ranks), NEVER)
        coarse = []
        for groups, layers in widths.connected():
            steps = WidthSteps(groups, layers, constraints, ~alive)
            here = np.concatenate([np.arange(group.start, group.start + group.size) for group in groups])
            free = here[alive[here] & ~protected[here]]
            taken = []
            for channel in free[np.argsort(ranks[free], kind="stable")].tolist():
                if step := steps.offer(channel):
                    removed_at[step] = ranks[channel]
                    taken.append(np.array(step))
            if constraints.round_to > 1 or any(layer.positions.max() > 1 for layer in layers):
                coarse.append(tuple(taken))
        removed_at[~alive] = 0
        gone_before = ranks[~alive & (ranks < NEVER)]
        return cls(ranks, removed_at, int(gone_before.max(initial=0)), tuple(coarse))

    @property
    def cuts(self) -> np.ndarray:
        """The cuts at which something changes, ascending; the first removes nothing more."""
        return np.unique(np.append(self.removed_at[self.removed_at < NEVER], 0))

    def kept(self, cut: int) -> np.ndarray:
        """Returns bool `[channels]`: what a cut keeps."""
        return self.removed_at > cut

    def coarse_steps(self, cut: int) -> list[tuple[int, np.ndarray]]:
        """Returns the coarse steps that a cut takes, the last first, each with the index of its part."""
        taken = [(part, step) for part, steps in enumerate(self.coarse) for step in steps]
        taken = [each for each in taken if self.removed_at[each[1][0]] <= cut]
        return sorted(taken, key=lambda each: self.removed_at[each[1][0]], reverse=True)

    def asked(self, cut: int) -> np.ndarray:
        """Returns bool `[channels]`: what a cut would keep without constraints."""
        return self.ranks > max(cut, self.first)
