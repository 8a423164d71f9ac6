"""Plans: the smallest removal of channels, in the order of their scores, that meets a budget."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any
from warnings import WarningMessage

import keras
import numpy as np

from tfprune import criteria
from tfprune.criteria.data import reject_unused_data
from tfprune.errors import ConfigError, PruningError, check_choice
from tfprune.graph import ChannelGroups, CostModel, channel_groups, functional_model
from tfprune.graph.calls import check_finite_weights, check_not_quantized
from tfprune.pruning.budget import MEASURES, Budget, Totals, WidthConstraints
from tfprune.pruning.depth import BlockScorer, drop_blocks, held_back
from tfprune.pruning.explain import share_text
from tfprune.pruning.group_plan import FITS, GroupPlan, Hold, describe_reasons, holds
from tfprune.pruning.plan import PruningPlan
from tfprune.pruning.protection import (
    IGNORED,
    WIDTH_KEPT,
    ignored_channels,
    kept_layers,
    layer_paths,
    produced_channels,
    protections,
)
from tfprune.pruning.removal import Removal, Scope, ranking
from tfprune.pruning.widths import Widths
from tfprune.reprs import short
from tfprune.tables import listed

MOST_UNKNOWN = 0.05
"""The fraction of a model's FLOPs that may be unknown where FLOPs are the target."""

"""How many layers a message names at most."""


def plan_channels(
    model: keras.Model,
    criterion: Any = "l2",
    *,
    flops: float | None = None,
    params: float | None = None,
    density: float | None = None,
    depth: float | None = None,
    depth_criterion: Any = "cosine",
    data: Any = None,
    scope: Scope = "global",
    round_to: int = 1,
    min_channels: int = 1,
    max_sparsity: float | Mapping[str, float] = 1.0,
    ignore: Any | Iterable[Any] = (),
    keep_width: Any | Iterable[Any] = (),
    keep_classes: bool = False,
    allow_unknown: bool = False,
    inputs: Any = None,
) -> PruningPlan:
    """Decides which channels and residual blocks of a model to prune, and prunes nothing yet.

    The plan is the smallest removal that meets the target: channels are removed in the order of their scores, equal
    ones in the order of the model, up to the first point at which all limits hold and the cost is low enough. Where
    layers lose several channels at once, as with `round_to`, that may be far below the target. So with the scope
    `global` such steps are then given back, the last first, each if the target is still met with it; a step only comes
    back after all later ones of layers that share channels with its own.

    Args:
        model: A functional or sequential model, or a subclassed one, which is read as `tfprune.functional_model` does.
            It is not changed.
        criterion: Name of a criterion for channels (`tfprune.criteria.names()`), or an object with a method `scores`.
        flops: Fraction of the FLOPs (multiply-adds) to keep. Exactly one of `flops`, `params`, `density` is given, or
            `depth` alone.
        params: Fraction of the parameters to keep.
        density: Fraction of the channels to keep.
        depth: Fraction of the residual blocks to keep at least; the number is rounded up.
        depth_criterion: Name of a criterion for blocks: `cosine`, `taylor`, `loss`, `l1`, `random`; or an object with a
            method `scores(model, blocks, data)`.
        data: Batches `(x, y)` or arrays, for criteria that use data.
        scope: `global`: channels are compared over the whole model. `local`: every group loses the same fraction; with
            `round_to`, as nearly as its multiples and the target allow.
        round_to: Keep a multiple of this in every layer, or its whole width.
        min_channels: Keep at least this many channels in every layer.
        max_sparsity: The largest fraction of its width that a layer may lose; or a dict of such fractions by names or
            patterns, such as `{"stage1_*": 0.3, "*": 0.8}`, of which the first that matches counts.
        ignore: Layers that keep all channels they produce and read: names, patterns such as `stage1_*`, or layers. No
            block that holds one is dropped.
        keep_width: Layers that keep all channels they produce, while they may read fewer, such as a classifier. No
            block that holds one is dropped.
        keep_classes: Whether layers with layers within them, such as blocks of transformers, stay of their class: only
            channels are pruned whose number their settings say. Otherwise a functional model of the same layers takes
            the place of a layer that loses others.
        allow_unknown: Whether to plan for `flops` although more than 5 % of the model's FLOPs are probably not known;
            these count as 0.
        inputs: The inputs of a subclassed model, see `tfprune.functional_model`.

    Returns:
        The plan: `print(plan.explain())`, then `plan.apply()`.

    Raises:
        ConfigError: A setting is out of range or has no effect, or there is data for a criterion that uses none.
        PruningError: The target cannot be met, nothing can be pruned, or too many of the FLOPs are not known.
        UnsupportedLayerError: The model has no graph, lacks a layer that is named, or is quantized.

    Example:
        >>> import keras
        >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(8, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
        >>> plan_channels(keras.Sequential(layers), "l2", flops=0.5).after.channels
        4
    """
    constraints = WidthConstraints(round_to, min_channels, max_sparsity)
    settings = {"criterion": criterion, "scope": scope, "allow_unknown": allow_unknown, **vars(constraints)}
    budget = target(flops, params, density, depth, settings)
    scorer, blocks = scorers(criterion, budget, depth, depth_criterion, data)
    planner = Planner(
        functional_model(model, inputs),
        budget,
        scope=scope,
        constraints=constraints,
        ignore=ignore,
        keep_width=keep_width,
        keep_classes=keep_classes,
        allow_unknown=allow_unknown,
        blocks=blocks,
    )
    return planner.plan(scorer.scores(planner.rest, planner.groups) if budget else None, scorer.name)


def target(
    flops: float | None,
    params: float | None,
    density: float | None,
    depth: float | None,
    settings: Mapping[str, Any],
) -> Budget | None:
    """Returns the budget of exactly one fraction, or None if there is only a depth.

    Args:
        flops: See `plan_channels`, as for the next three.
        params: A fraction, or None.
        density: A fraction, or None.
        depth: A fraction, or None.
        settings: The settings of `plan_channels` that are for channels, by name.

    Raises:
        ConfigError: None or several fractions are given, or a setting for channels without a target for them.
    """
    if depth is None or any(each is not None for each in (flops, params, density)):
        return Budget.from_fractions(flops, params, density)
    defaults = {name: each.default for name, each in signature(plan_channels).parameters.items()}
    if given := [name for name, value in settings.items() if not _same(value, defaults[name])]:
        raise ConfigError(
            f"{given[0]}: expected none, as it is for channels and depth={short(depth)} is the only target, received "
            f"{short(settings[given[0]])}; give flops, params or density, too, or leave {given[0]} out"
        )
    return None


def _same(value: Any, default: Any) -> bool:
    return isinstance(value, type(default)) and bool(value == default)


def scorers(
    criterion: Any, budget: Budget | None, depth: float | None, depth_criterion: Any, data: Any
) -> tuple["Scorer", BlockScorer | None]:
    """Returns what scores channels, and what scores blocks if there is a depth; arguments are as for a plan.

    Raises:
        ConfigError: There is no such criterion, or data that none uses.
    """
    if depth is None and not (isinstance(depth_criterion, str) and depth_criterion == "cosine"):
        raise ConfigError(f"depth_criterion: expected none without depth, received {short(depth_criterion)}")
    blocks = None if depth is None else BlockScorer(depth, depth_criterion, data)
    if blocks is not None and budget is None:
        blocks.check_data(data)
    return Scorer(criterion, data, shared=blocks is not None and (blocks.uses_data or budget is None)), blocks


class Planner:
    """Makes plans for one model.

    Args:
        model: A functional or sequential model.
        budget: How much of it may be kept; None if only blocks are dropped.
        scope: `global` or `local`.
        constraints: Limits of the widths.
        ignore: Layers to leave alone, see `channel_groups`.
        keep_width: Layers that keep all channels that they produce.
        keep_classes: See `plan_channels`.
        allow_unknown: See `plan_channels`.
        blocks: Scores the residual blocks, of which some are dropped first. Default: they are left alone.
        keep_optimizer: Carry the state of a compiled model's optimizer over to `rest`.

    Attributes:
        rest: The model without the blocks that are dropped.
        groups: The channel groups of `rest`.
        whole: The totals of the whole model.
        said: Warnings on `rest`.

    Raises:
        ConfigError: The scope is unknown.
        PruningError: Too many of the FLOPs are not known, or the budget is for what the model does not have.
        UnsupportedLayerError: The model has no graph, or lacks a layer that is named.
    """

    def __init__(
        self,
        model: keras.Model,
        budget: Budget | None,
        *,
        scope: Scope = "global",
        constraints: WidthConstraints | None = None,
        ignore: Any | Iterable[Any] = (),
        keep_width: Any | Iterable[Any] = (),
        keep_classes: bool = False,
        allow_unknown: bool = False,
        blocks: BlockScorer | None = None,
        keep_optimizer: bool = False,
    ) -> None:
        check_choice("scope", scope, Scope)
        check_not_quantized(model)
        self.model, self.budget, self.scope = model, budget, scope
        self.constraints = constraints or WidthConstraints()
        self.groups: ChannelGroups = channel_groups(model, keep_classes=keep_classes)
        self.ignore = layer_paths(model, self.groups, ignore)
        self.keep_width = layer_paths(model, self.groups, keep_width)
        self._read(model)
        self.whole, self._uncounted = self._totals(np.ones(self.groups.channels, bool)), dict(self._cost.uncounted)
        self._check(allow_unknown)
        self.depth, self.rest = None, model
        self._expanded: tuple[str, ...] = ()
        self.said: list[WarningMessage] = []
        if blocks is not None:
            held = kept_layers(self.groups, self.ignore, self.keep_width)
            self.depth = blocks.plan(model, held, keep_classes=keep_classes)
            dropped = self.depth.found_in(model, keep_classes=keep_classes)
            with held_back() as self.said:
                self.rest = drop_blocks(model, dropped, keep_optimizer=keep_optimizer)
            self._expanded = tuple(block.opened[0].name for block in dropped if block.opened)
        if self.rest is not model:
            self.groups = channel_groups(self.rest, keep_classes=keep_classes)
            self._read(self.rest)

    def _read(self, model: keras.Model) -> None:
        """Reads the costs, the widths and what is to be kept of a model, whose groups are known."""
        self._asked = {
            IGNORED: ignored_channels(self.groups, self.ignore),
            WIDTH_KEPT: produced_channels(self.groups, self.keep_width),
        }
        self._cost = CostModel(model, self.groups)
        self._widths = Widths(self.groups, self.constraints, strict=model is self.model)

    def plan(
        self,
        scores: np.ndarray | None,
        criterion: str,
        *,
        alive: np.ndarray | None = None,
        budget: Budget | None = None,
    ) -> PruningPlan:
        """Makes a plan.

        Args:
            scores: `[channels]`, higher is kept; NaN where the criterion cannot score a group. None if only blocks are
                dropped.
            criterion: Name of the criterion that they come from.
            alive: Bool `[channels]`: channels that an earlier plan kept. Default: all.
            budget: A budget to use instead of the planner's, relative to the whole model, too.

        Returns:
            The plan, always in terms of the whole model.

        Raises:
            PruningError: The budget cannot be met.
        """
        budget = budget or self.budget
        everything = np.ones(self.groups.channels, bool)
        if budget is None or scores is None:
            plans = self._group_plans(everything, {}, everything, everything, everything)
            return self._plan(criterion, None, plans, everything)
        enough = self.whole.of(budget.measure) and self._fits(everything, budget)
        if not self.groups.channels and budget.fraction < 1 and not enough:
            reasons = [str(each) for each in self.groups.left_alone]
            raise PruningError(f"{budget} cannot be met: the model has no prunable channels{_because(reasons)}")
        alive = np.ones(len(scores), bool) if alive is None else alive
        ranks = ranking(scores, self.groups, self.scope, alive, in_turn=self.constraints.round_to > 1)
        protected = protections(self._asked, scores, ranks, self.groups, self.constraints.min_channels)
        never = np.any(list(protected.values()), axis=0)
        removal = limited = Removal.from_ranking(ranks, self._widths, self.constraints, never, alive)
        if self.constraints.round_to > 1:
            limited = Removal.from_ranking(ranks, self._widths, replace(self.constraints, round_to=1), never, alive)
        if not self._met(removal, removal.cuts[-1], budget):
            raise PruningError(self._unreachable(removal, limited, budget, protected))
        cut = self._least_cut(removal, budget)
        mask = self._filled(removal, cut, budget)
        plans = self._group_plans(removal.asked(cut), protected, limited.kept(cut), removal.kept(cut), mask)
        return self._plan(criterion, budget, plans, mask)

    def _plan(
        self, criterion: str, budget: Budget | None, plans: tuple[GroupPlan, ...], mask: np.ndarray
    ) -> PruningPlan:
        expanded = (layer.name for layer in self.groups.expanded(mask) if layer.within is None)
        return PruningPlan(
            model=self.model.name,
            criterion=criterion,
            budget=budget,
            scope=self.scope,
            constraints=self.constraints,
            ignore=self.ignore,
            keep_width=self.keep_width,
            groups=plans,
            before=self.whole,
            after=self._totals(mask),
            pinned=self.groups.pinned,
            outputs=tuple(str(each) for each in self.groups.left_alone if each.is_output),
            uncounted=tuple(self._uncounted),
            unknown=sum(self._uncounted.values()),
            depth=self.depth,
            keep_classes=self.groups.keep_classes,
            expanded=tuple(dict.fromkeys((*self._expanded, *expanded))),
            sizes=tuple(tuple(size or 1 for size in shape) for shape in self.groups.graph.sizes or ()),
            source=self.model,
        )

    def _check(self, allow_unknown: bool) -> None:
        """Raises an error if the budget is for FLOPs that are not known, or for what there is none of."""
        if self.budget is None:
            return
        name, flops, unknown = self.model.name, self.whole.flops, sum(self._uncounted.values())
        layers = [f"{layer} ({type(self.groups.layers[layer]).__name__})" for layer in self._uncounted]
        too_many = unknown > MOST_UNKNOWN * (flops + unknown)
        if self.budget.measure == "flops" and too_many and not allow_unknown:
            raise PruningError(
                f"{self.budget}: {share_text(unknown, flops)} of the FLOPs of {name} are not known, "
                f"those of {listed(layers)}; "
                "give a fraction of the parameters to keep, params=, or count these as 0, allow_unknown=True"
            )
        if self.budget.fraction < 1 and not self.whole.of(self.budget.measure) and self.groups.channels:
            raise PruningError(
                f"{self.budget}: {name} has no {MEASURES[self.budget.measure]} that are known; give params="
            )

    def _least_cut(self, removal: Removal, budget: Budget) -> int:
        """Finds the first cut that meets the budget, by bisection, as later cuts keep less."""
        cuts = removal.cuts
        low, high = 0, len(cuts) - 1
        while low < high:
            middle = (low + high) // 2
            if self._met(removal, cuts[middle], budget):
                high = middle
            else:
                low = middle + 1
        return int(cuts[low])

    def _filled(self, removal: Removal, cut: int, budget: Budget) -> np.ndarray:
        """Returns what a cut keeps, bool `[channels]`, with the steps given back that the budget has room for.

        A part of the model whose last step does not fit gets no other one: what remains is always the beginning of its
        order of removal. Where all groups lose the same fraction, nothing is given back.
        """
        mask = removal.kept(cut)
        full: set[int] = set()
        for part, step in removal.coarse_steps(cut) if self.scope == "global" else ():
            if part not in full:
                mask[step] = True
                if not self._fits(mask, budget):
                    mask[step] = False
                    full.add(part)
        return mask

    def _met(self, removal: Removal, cut: int, budget: Budget) -> bool:
        return self._fits(removal.kept(cut), budget)

    def _fits(self, mask: np.ndarray, budget: Budget) -> bool:
        return budget.met(self._totals(mask).of(budget.measure), self.whole.of(budget.measure))

    def _totals(self, mask: np.ndarray) -> Totals:
        params, flops = self._cost.totals(mask)
        return Totals(self._widths.channels(mask), params, flops)

    def _group_plans(
        self,
        asked: np.ndarray,
        protected: dict[str, np.ndarray],
        limited: np.ndarray,
        rounded: np.ndarray,
        mask: np.ndarray,
    ) -> tuple[GroupPlan, ...]:
        """Returns what happens to each group, and why.

        Args:
            asked: What the scores alone would keep, bool `[channels]`.
            protected: What is kept whatever its score is, by the reason.
            limited: What is kept where widths need not be multiples.
            rounded: What the cut keeps.
            mask: What is kept, with the steps that were given back.
        """
        plans = []
        everything = np.ones(self.groups.channels, bool)
        for index, group in enumerate(self.groups):
            first, here = self._widths.layers[group.name], self._widths.of_layers(index)
            limits = [(self.constraints.removable(each.whole, each.limit), each.whole) for each in here]
            _, tightest = min((count / whole, name) for (count, name), whole in limits)
            amounts = {reason: self._widths.of_group(group, own) for reason, own in protected.items()}
            reasons = {**protected, tightest: limited, "round_to": rounded, FITS: mask}
            plan = GroupPlan(
                name=group.name,
                layers=group.layers,
                size=group.size,
                keep=tuple(np.flatnonzero(mask[group.channels]).tolist()),
                before=first.of(everything),
                after=first.of(mask),
                protected=tuple(Hold(reason, amount) for reason, amount in amounts.items() if amount),
                bound=holds(group, self._widths, reasons, asked),
            )
            plans.append(plan)
        return tuple(plans)

    def _unreachable(self, removal: Removal, limited: Removal, budget: Budget, protected: dict[str, np.ndarray]) -> str:
        """Returns the error message for a budget that even the largest removal does not meet."""
        cut = removal.cuts[-1]
        whole, word = self.whole.of(budget.measure), MEASURES[budget.measure]
        least = self._totals(removal.kept(cut)).of(budget.measure)
        nothing = np.zeros(self.groups.channels, bool)
        rounded = removal.kept(cut)
        plans = self._group_plans(nothing, protected, limited.kept(limited.cuts[-1]), rounded, rounded)
        held = dict.fromkeys(hold.reason for plan in plans for hold in plan.bound)
        suggested = -(-least * 1000 // whole) / 1000
        return (
            f"{budget} cannot be met: at least {least:,} of {whole:,} {word} ({100 * least / whole:.1f} %) remain, "
            f"as no group may lose more ({describe_reasons(held, self.constraints)}). "
            f"{f'Ask for {budget.measure}={suggested:g} or more, or loosen' if suggested < 1 else 'Loosen'} what holds "
            "the channels"
            f"{_because(self.groups.pinned, '. Left alone: ')}"
        )


def _because(pinned: Sequence[str], start: str = ": ") -> str:
    """Returns the end of a sentence on what is left alone."""
    return start + listed(pinned, separator="; ") if pinned else ""


class Scorer:
    """A criterion with its data.

    Args:
        criterion: Its name, or an object with a method `scores(model, groups, data)`.
        data: Data for it.
        shared: Whether the data may be for something else: then a criterion that never uses data gets none.

    Raises:
        ConfigError: There is no such criterion, or there is data that it does not use.
    """

    def __init__(self, criterion: Any, data: Any = None, *, shared: bool = False) -> None:
        self._criterion = criteria.get(criterion)
        if not shared:
            reject_unused_data(self._criterion, data)
        self._data = None if getattr(self._criterion, "uses_data", "optional") == "never" else data

    @property
    def name(self) -> str:
        """Name of the criterion."""
        return str(getattr(self._criterion, "name", type(self._criterion).__name__))

    def scores(self, model: keras.Model, groups: ChannelGroups) -> np.ndarray:
        """Returns one score per prunable channel, float64 `[channels]`.

        Raises `ConfigError` for another shape, or if a weight of the model is not finite.
        """
        check_finite_weights(model)
        scores = np.asarray(self._criterion.scores(model, groups, self._data), np.float64)
        if scores.shape != (groups.channels,):
            raise ConfigError(
                f"criterion {self.name}: expected one score per prunable channel, of shape ({groups.channels},), "
                f"received shape {scores.shape}"
            )
        return scores
