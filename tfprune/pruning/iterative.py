"""Pruning step by step: channels along a schedule, or weights in rounds of training, pruning and rewinding."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from tfprune.arguments import truth, whole_number
from tfprune.criteria import Magnitude, WeightCriterion
from tfprune.errors import ConfigError
from tfprune.graph import ChannelGroups, functional_model
from tfprune.masks import Masks
from tfprune.pruning.budget import Budget, WidthConstraints
from tfprune.pruning.depth import in_its_class
from tfprune.pruning.history import Between, PruningHistory, carried_out, check_between, remaining_groups
from tfprune.pruning.plan import PruningPlan
from tfprune.pruning.planner import Planner, Scorer, scorers, target
from tfprune.pruning.removal import Scope
from tfprune.reprs import described, short

Train = Callable[[int, keras.Model, Masks], keras.Model]
SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "linear": lambda target, time: 1 + (target - 1) * time,
    "exponential": lambda target, time: target**time,
    "cubic": lambda target, time: target + (1 - target) * (1 - time) ** 3,
}
"""The fraction kept at a time between 0 and 1: 1 at first, the target at last.

Reference:
    Cubic: Zhu and Gupta, "To prune, or not to prune", 2017, equation 1. Exponential, by the same fraction of what is
    left at each step: Frankle and Carbin, ICLR 2019; Tanaka et al., "SynFlow", NeurIPS 2020.
"""


def prune_channels(
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
    steps: int = 1,
    schedule: str = "linear",
    between: Between | None = None,
    reweight: Any = None,
    recalibrate: Any = None,
    keep_optimizer: bool = False,
    history: PruningHistory | None = None,
    inputs: Any = None,
) -> keras.Model:
    """Prunes channels and residual blocks of a model.

    With several steps the model approaches the target along a schedule, and the remaining channels are scored at each
    step. Blocks are scored once, and dropped in the first step.
    All targets and limits are relative to the original model.

    Args:
        model: A functional, sequential or subclassed model. It is not changed.
        criterion: See `plan_channels`, as for all others up to `allow_unknown`.
        flops: Fraction of the FLOPs (multiply-adds) to keep.
        params: Fraction of the parameters to keep.
        density: Fraction of the channels to keep.
        depth: Fraction of the residual blocks to keep at least.
        depth_criterion: What scores the blocks.
        data: Data for criteria that use some.
        scope: `global` or `local`.
        round_to: Keep multiples of this.
        min_channels: Keep at least this many per layer.
        max_sparsity: The largest fraction that a layer may lose; also by names or patterns.
        ignore: Layers to leave alone.
        keep_width: Layers that keep all channels they produce.
        keep_classes: Whether layers with layers within them stay of their class.
        allow_unknown: Whether FLOPs may be a target although many are not known.
        steps: Number of steps.
        schedule: `linear`, `exponential` (the same fraction of what is left at each step) or `cubic` (fast at first).
        between: Called as `between(model, step)` after every step but the last, with the steps counted from 1; may
            train the model, or return another of the same layers.
        reweight: Data on which the kernels that read cut channels compensate for them after each step, see
            `PruningPlan.apply`.
        recalibrate: Data to measure the moving averages of batch norms on after each step: batches `(x, y)` or `x`, or
            arrays.
        keep_optimizer: Carry the state of a compiled model's optimizer over, cut like the weights.
        history: An empty history, to which the plan of each step is added; it can be saved, and replayed on another
            model.
        inputs: The inputs of a subclassed model, see `tfprune.functional_model`.

    Returns:
        A new, smaller model of the same layers; compiled like the old one if that was compiled.

    Raises:
        ConfigError: A setting is out of range, or there is data for a criterion that uses none.
        PruningError: The target cannot be met, nothing can be pruned, or `between` returned a model of other layers, or
            the optimizer's state cannot be carried over.
        UnsupportedLayerError: The model has no graph.

    Example:
        >>> import keras
        >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(8, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
        >>> prune_channels(keras.Sequential(layers), "l2", flops=0.5, steps=2).layers[0].filters
        4
    """
    constraints = WidthConstraints(round_to, min_channels, max_sparsity)
    settings = {"criterion": criterion, "scope": scope, "allow_unknown": allow_unknown, **vars(constraints)}
    budget = target(flops, params, density, depth, settings)
    scorer, blocks = scorers(criterion, budget, depth, depth_criterion, data)
    keep_optimizer = truth("keep_optimizer", keep_optimizer)
    path = kept_fractions(budget.fraction if budget else 1.0, steps, schedule)
    if budget is None and steps > 1:
        raise ConfigError(
            f"steps: expected 1 with depth as the only target, as blocks are dropped in one step, received {steps}"
        )
    check_between(between)
    if not isinstance(history, PruningHistory | None):
        raise ConfigError(f"history: expected a PruningHistory, received {described(history)}")
    if history is not None and history.plans:
        raise ConfigError(f"history: expected an empty one, received one of {len(history.plans)} steps")
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
        keep_optimizer=keep_optimizer,
    )
    whole, model = model, planner.rest
    kept = np.ones(planner.groups.channels, bool)
    for step, fraction in enumerate(path, start=1):
        groups = remaining_groups(model, planner.groups, kept)
        plan = _step_plan(planner, scorer, model, groups, kept, budget and replace(budget, fraction=fraction))
        mask = plan.mask[kept]
        model = carried_out(model, groups, mask, reweight, recalibrate, keep_optimizer=keep_optimizer)
        kept = plan.mask
        if history is not None:
            history.plans.append(replace(plan, source=None))
        if between is not None and step < steps:
            other = between(model, step)
            model = model if other is None else other
    return in_its_class(whole, model, () if planner.depth is None else planner.depth.dropped, planner.said)


def _step_plan(
    planner: Planner,
    scorer: Scorer,
    model: keras.Model,
    groups: ChannelGroups,
    kept: np.ndarray,
    budget: Budget | None,
) -> PruningPlan:
    """Returns the plan of one step.

    Args:
        planner: Makes plans for the whole model.
        scorer: Scores channels.
        model: The model before the step.
        groups: Its channel groups.
        kept: Bool `[channels of the whole model]`, what was kept before.
        budget: That of the step; None if only blocks are dropped.
    """
    if budget is None:
        return planner.plan(None, scorer.name)
    scores = np.full(len(kept), -np.inf)
    scores[kept] = scorer.scores(model, groups)
    if kept.all():
        planner.plan(scores, scorer.name)  # a target out of reach shows before the first training
    return planner.plan(scores, scorer.name, alive=kept, budget=budget)


def kept_fractions(target: float, steps: int, schedule: str) -> tuple[float, ...]:
    """Returns the fraction of the original to keep after each step.

    Args:
        target: The last fraction.
        steps: Number of steps.
        schedule: `linear`, `exponential` or `cubic` (fast at first).

    Returns:
        `steps` fractions, descending; the last is exactly the target.

    Raises:
        ConfigError: The schedule is unknown, or there is no step.

    Example:
        >>> kept_fractions(0.5, 2, "linear")
        (0.75, 0.5)
    """
    if not isinstance(schedule, str) or schedule not in SCHEDULES:
        raise ConfigError(f"schedule: expected one of {', '.join(SCHEDULES)}, received {short(schedule)}")
    steps = whole_number("steps", steps)
    kept = SCHEDULES[schedule]
    return (*(kept(target, step / steps) for step in range(1, steps)), target)


def iterative_tickets(
    start: keras.Model,
    density: float,
    train: Train,
    *,
    rounds: int,
    masks: Masks | None = None,
    criterion: WeightCriterion | None = None,
    first_round: int = 1,
) -> Iterator[Masks]:
    """Finds tickets in rounds: trains, prunes the same fraction of the remaining weights, rewinds to the start.

    The start has initial weights, or those after a few epochs of training: then `train` must begin with the epoch after
    these.

    Args:
        start: A plain model. It is not changed.
        density: Fraction of all prunable weights that the last round leaves.
        train: Trains a model with masks, given the number of the round from 1 on, the model and its masks; returns the
            trained model, plain.
        rounds: Number of rounds.
        masks: What is left before the first round that is done here. Default: everything.
        criterion: The criterion to prune by. Default: `Magnitude` over the whole model.
        first_round: The round to resume with, given the masks of the round before it.

    Yields:
        The masks after each round.

    Raises:
        ConfigError: A number is out of range, or the pruning is impossible.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8), keras.layers.Dense(2)])
        >>> tickets = iterative_tickets(model, 0.25, lambda round, model, masks: model, rounds=2)
        >>> [masks.density for masks in tickets]
        [0.5, 0.25]

    Reference:
        Frankle & Carbin, The Lottery Ticket Hypothesis (ICLR 2019), strategy 2; going back to later epochs: Frankle et
        al., Linear Mode Connectivity and the Lottery Ticket Hypothesis (ICML 2020).
    """
    if not 0 < density <= 1 or rounds < 1 or not 1 <= first_round <= rounds + 1:
        raise ConfigError(
            f"expected a density above 0 and at most 1 and at least one round, received {density} and {rounds}"
        )
    criterion = criterion or Magnitude()
    if masks is None:
        masks = criterion(start, 1.0)
    for number in range(first_round, rounds + 1):
        trained = train(number, start, masks)
        masks = criterion(trained, density ** (number / rounds), masks=masks)
        yield masks
