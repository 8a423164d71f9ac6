"""Deciding which channels go: the least removal, in the order of the scores, that meets a budget."""

from collections.abc import Iterable
from typing import Any, get_args

import keras
import numpy as np

from tfprune.errors import ConfigError, PruningError
from tfprune.graph import ChannelGroup, ChannelGroups, CostModel, channel_groups
from tfprune.pruning.budget import MEASURES, Budget
from tfprune.pruning.group_plan import GroupPlan, Hold
from tfprune.pruning.holds import holds, in_words
from tfprune.pruning.plan import PruningPlan
from tfprune.pruning.protection import ignored_units, layer_paths, protections
from tfprune.pruning.removal import Removal, Scope, ranking
from tfprune.pruning.totals import Totals
from tfprune.pruning.width_constraints import WidthConstraints


class Planner:
    """Makes plans for one model.

    Args:
        model: A functional or sequential model.
        budget: What may stay of it.
        scope: `global` or `local`.
        constraints: Limits of the widths.
        ignore: Layers to leave alone, see `channel_groups`.

    Raises:
        ConfigError: The scope is unknown.
        UnsupportedLayerError: The model has no graph, or not the layers to ignore.
    """

    def __init__(
        self,
        model: keras.Model,
        budget: Budget,
        *,
        scope: Scope = "global",
        constraints: WidthConstraints | None = None,
        ignore: Any | Iterable[Any] = (),
    ) -> None:
        if scope not in get_args(Scope):
            raise ConfigError(f"scope: expected {' or '.join(get_args(Scope))}, received {scope!r}")
        self.model, self.budget, self.scope = model, budget, scope
        self.constraints = constraints or WidthConstraints()
        self.groups: ChannelGroups = channel_groups(model)
        self.ignore = layer_paths(model, self.groups, ignore)
        self._ignored = ignored_units(model, self.groups, self.ignore)
        self._cost = CostModel(model, self.groups)
        self._channels = np.repeat([group.multiplicity for group in self.groups], [group.size for group in self.groups])
        self.whole = self._totals(np.ones(self.groups.channels, bool))

    def plan(
        self, scores: np.ndarray, criterion: str, *, alive: np.ndarray | None = None, budget: Budget | None = None
    ) -> PruningPlan:
        """Makes a plan.

        Args:
            scores: `[channels]`, higher is kept; NaN where the criterion cannot judge a group.
            criterion: What gave them.
            alive: Bool `[channels]`: units that an earlier plan kept. Default: all.
            budget: Another budget than the planner's, of the whole model too.

        Returns:
            The plan, always in terms of the whole model.

        Raises:
            PruningError: The budget cannot be met.
        """
        alive = np.ones(len(scores), bool) if alive is None else alive
        budget = budget or self.budget
        places = ranking(scores, self.groups, self.scope, alive, in_turn=self.constraints.round_to > 1)
        protected = protections(self._ignored, scores, places, self.groups, self.constraints.min_channels)
        removal = Removal.of(places, self.groups, self.constraints, np.any(list(protected.values()), axis=0), alive)
        return self._written(removal, self._least_cut(removal, budget, protected), budget, criterion, protected)

    def _least_cut(self, removal: Removal, budget: Budget, protected: dict[str, np.ndarray]) -> int:
        """The first cut that meets the budget; later ones keep less, so it can be found by halving."""
        cuts = removal.cuts
        if not self._met(removal, cuts[-1], budget):
            raise PruningError(self._unreachable(removal, cuts[-1], budget, protected))
        low, high = 0, len(cuts) - 1
        while low < high:
            middle = (low + high) // 2
            if self._met(removal, cuts[middle], budget):
                high = middle
            else:
                low = middle + 1
        return int(cuts[low])

    def _met(self, removal: Removal, cut: int, budget: Budget) -> bool:
        return budget.met(self._totals(removal.kept(cut)).of(budget.measure), self.whole.of(budget.measure))

    def _totals(self, mask: np.ndarray) -> Totals:
        params, flops = self._cost.totals(mask)
        return Totals(int(self._channels[mask].sum()), params, flops)

    def _written(
        self, removal: Removal, cut: int, budget: Budget, criterion: str, protected: dict[str, np.ndarray]
    ) -> PruningPlan:
        mask = removal.kept(cut)
        asked = removal.asked(cut)
        return PruningPlan(
            model=self.model.name,
            criterion=criterion,
            budget=budget,
            scope=self.scope,
            constraints=self.constraints,
            ignore=self.ignore,
            groups=tuple(self._group(group, mask, asked, protected) for group in self.groups),
            before=self.whole,
            after=self._totals(mask),
            pinned=self.groups.pinned,
            uncounted=self._cost.complexity(mask).uncounted,
            source=self.model,
        )

    def _group(
        self, group: ChannelGroup, mask: np.ndarray, asked: np.ndarray, protected: dict[str, np.ndarray]
    ) -> GroupPlan:
        part = group.channels
        here = {reason: units[part] for reason, units in protected.items() if units[part].any()}
        return GroupPlan(
            name=group.name,
            layers=group.layers,
            size=group.size,
            multiplicity=group.multiplicity,
            keep=tuple(np.flatnonzero(mask[part]).tolist()),
            protected=tuple(Hold(reason, int(units.sum()) * group.multiplicity) for reason, units in here.items()),
            bound=holds(group, asked[part], here, self.constraints),
        )

    def _unreachable(self, removal: Removal, cut: int, budget: Budget, protected: dict[str, np.ndarray]) -> str:
        """What to say when even the largest removal is too small."""
        whole, word = self.whole.of(budget.measure), MEASURES[budget.measure]
        least = self._totals(removal.kept(cut)).of(budget.measure)
        nothing = np.zeros(self.groups.channels, bool)
        groups = [self._group(group, removal.kept(cut), nothing, protected) for group in self.groups]
        held = dict.fromkeys(hold.reason for group in groups for hold in group.bound)
        suggested = -(-least * 1000 // whole) / 1000
        return (
            f"{budget} cannot be met: at least {least:,} of {whole:,} {word} ({100 * least / whole:.1f} %) stay, as no "
            f"group may lose more ({in_words(held, self.constraints)}). "
            f"Ask for {budget.measure}={suggested:g} or more, or loosen what holds the channels"
        )
