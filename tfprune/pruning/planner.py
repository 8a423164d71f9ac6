"""Plans: the smallest removal of channels, in the order of their scores, that meets a budget."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from tfprune import criteria
from tfprune.criteria.data import reject_unused_data
from tfprune.errors import ConfigError, PruningError, check_choice
from tfprune.graph import ChannelGroup, ChannelGroups, CostModel, channel_groups
from tfprune.pruning.budget import MEASURES, Budget, Totals, WidthConstraints
from tfprune.pruning.group_plan import GroupPlan, Hold, describe_reasons, holds
from tfprune.pruning.plan import PruningPlan
from tfprune.pruning.protection import ignored_channels, layer_paths, protections
from tfprune.pruning.removal import Removal, Scope, ranking


def plan_channels(
    model: keras.Model,
    criterion: Any = "l2",
    *,
    flops: float | None = None,
    params: float | None = None,
    density: float | None = None,
    data: Any = None,
    scope: Scope = "global",
    round_to: int = 1,
    min_channels: int = 1,
    max_sparsity: float = 1.0,
    ignore: Any | Iterable[Any] = (),
) -> PruningPlan:
    """Decides which channels of a model to prune, and prunes nothing yet.

    The plan is the smallest removal that meets the target: channels are removed in the order of their scores, equal
    ones in the order of the model, up to the first point at which all limits hold and the cost is low enough.

    Args:
        model: A functional or sequential model. It is not changed.
        criterion: Name of a criterion for channels (`tfprune.criteria.names()`), or an object with a method `scores`.
        flops: Fraction of the FLOPs (multiply-adds) to keep. Exactly one of `flops`, `params`, `density` is given.
        params: Fraction of the parameters to keep.
        density: Fraction of the channels to keep.
        data: Batches `(x, y)` or arrays, for criteria that use data.
        scope: `global`: channels are compared over the whole model. `local`: every group loses the same fraction; with
            `round_to`, as nearly as its multiples and the target allow.
        round_to: Keep a multiple of this in every group, or all of it.
        min_channels: Keep at least this many channels in every group.
        max_sparsity: The largest fraction that a group may lose.
        ignore: Layers that keep all channels they produce and read: names, patterns such as `stage1_*`, or layers.

    Returns:
        The plan: `print(plan.explain())`, then `plan.apply()`.

    Raises:
        ConfigError: A setting is out of range, or there is data for a criterion that uses none.
        PruningError: The target cannot be met.
        UnsupportedLayerError: The model has no graph.

    Example:
        >>> import keras
        >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(8, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
        >>> plan_channels(keras.Sequential(layers), "l2", flops=0.5).after.channels
        4
    """
    scorer = Scorer(criterion, data)
    constraints = WidthConstraints(round_to, min_channels, max_sparsity)
    budget = Budget.from_fractions(flops, params, density)
    planner = Planner(model, budget, scope=scope, constraints=constraints, ignore=ignore)
    return planner.plan(scorer.scores(model, planner.groups), scorer.name)


class Planner:
    """Makes plans for one model.

    Args:
        model: A functional or sequential model.
        budget: How much of it may be kept.
        scope: `global` or `local`.
        constraints: Limits of the widths.
        ignore: Layers to leave alone, see `channel_groups`.

    Raises:
        ConfigError: The scope is unknown.
        UnsupportedLayerError: The model has no graph, or lacks a layer to ignore.
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
        check_choice("scope", scope, Scope)
        self.model, self.budget, self.scope = model, budget, scope
        self.constraints = constraints or WidthConstraints()
        self.groups: ChannelGroups = channel_groups(model)
        self.ignore = layer_paths(model, self.groups, ignore)
        self._ignored = ignored_channels(model, self.groups, self.ignore)
        self._cost = CostModel(model, self.groups)
        self._channels = np.repeat([group.multiplicity for group in self.groups], [group.size for group in self.groups])
        self.whole = self._totals(np.ones(self.groups.channels, bool))

    def plan(
        self, scores: np.ndarray, criterion: str, *, alive: np.ndarray | None = None, budget: Budget | None = None
    ) -> PruningPlan:
        """Makes a plan.

        Args:
            scores: `[channels]`, higher is kept; NaN where the criterion cannot score a group.
            criterion: Name of the criterion that they come from.
            alive: Bool `[channels]`: channels that an earlier plan kept. Default: all.
            budget: A budget to use instead of the planner's, relative to the whole model, too.

        Returns:
            The plan, always in terms of the whole model.

        Raises:
            PruningError: The budget cannot be met.
        """
        alive = np.ones(len(scores), bool) if alive is None else alive
        budget = budget or self.budget
        ranks = ranking(scores, self.groups, self.scope, alive, in_turn=self.constraints.round_to > 1)
        protected = protections(self._ignored, scores, ranks, self.groups, self.constraints.min_channels)
        removal = Removal.from_ranking(
            ranks, self.groups, self.constraints, np.any(list(protected.values()), axis=0), alive
        )
        return self._plan_at(removal, self._least_cut(removal, budget, protected), budget, criterion, protected)

    def _least_cut(self, removal: Removal, budget: Budget, protected: dict[str, np.ndarray]) -> int:
        """Finds the first cut that meets the budget, by bisection, as later cuts keep less."""
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

    def _plan_at(
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
        here = {reason: channels[part] for reason, channels in protected.items() if channels[part].any()}
        return GroupPlan(
            name=group.name,
            layers=group.layers,
            size=group.size,
            multiplicity=group.multiplicity,
            keep=tuple(np.flatnonzero(mask[part]).tolist()),
            protected=tuple(Hold(reason, int(own.sum()) * group.multiplicity) for reason, own in here.items()),
            bound=holds(group, asked[part], here, self.constraints),
        )

    def _unreachable(self, removal: Removal, cut: int, budget: Budget, protected: dict[str, np.ndarray]) -> str:
        """Returns the error message for a budget that even the largest removal does not meet."""
        whole, word = self.whole.of(budget.measure), MEASURES[budget.measure]
        least = self._totals(removal.kept(cut)).of(budget.measure)
        nothing = np.zeros(self.groups.channels, bool)
        groups = [self._group(group, removal.kept(cut), nothing, protected) for group in self.groups]
        held = dict.fromkeys(hold.reason for group in groups for hold in group.bound)
        suggested = -(-least * 1000 // whole) / 1000
        return (
            f"{budget} cannot be met: at least {least:,} of {whole:,} {word} ({100 * least / whole:.1f} %) remain, "
            f"as no group may lose more ({describe_reasons(held, self.constraints)}). "
            f"Ask for {budget.measure}={suggested:g} or more, or loosen what holds the channels"
        )


class Scorer:
    """A criterion with its data.

    Args:
        criterion: Its name, or an object with a method `scores(model, groups, data)`.
        data: Data for it.

    Raises:
        ConfigError: There is no such criterion, or there is data that it does not use.
    """

    def __init__(self, criterion: Any, data: Any = None) -> None:
        self._criterion = criteria.get(criterion)
        reject_unused_data(self._criterion, data)
        self._data = data

    @property
    def name(self) -> str:
        """Name of the criterion."""
        return str(getattr(self._criterion, "name", type(self._criterion).__name__))

    def scores(self, model: keras.Model, groups: ChannelGroups) -> np.ndarray:
        """Returns one score per prunable channel, float64 `[channels]`; raises `ConfigError` for another shape."""
        scores = np.asarray(self._criterion.scores(model, groups, self._data), np.float64)
        if scores.shape != (groups.channels,):
            raise ConfigError(
                f"criterion {self.name}: expected one score per prunable channel, of shape ({groups.channels},), "
                f"received shape {scores.shape}"
            )
        return scores
