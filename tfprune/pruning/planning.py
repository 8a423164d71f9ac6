"""Planning the pruning of a model's channels."""

from collections.abc import Iterable
from typing import Any

import keras

from tfprune.pruning.budget import Budget
from tfprune.pruning.plan import PruningPlan
from tfprune.pruning.planner import Planner
from tfprune.pruning.removal import Scope
from tfprune.pruning.scoring import Scorer
from tfprune.pruning.width_constraints import WidthConstraints


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

    The plan is the least removal that meets the target: units go in the order of their scores, equal ones in the order
    of the model, and the first point is taken at which all limits hold and the cost is low enough.

    Args:
        model: A functional or sequential model. It is not changed.
        criterion: Name of a criterion (`tfprune.criteria.names()`), or an object with a method `scores`.
        flops: Fraction of the FLOPs to keep. Exactly one of `flops`, `params`, `density` is given.
        params: Fraction of the parameters to keep.
        density: Fraction of the channels to keep.
        data: Batches `(x, y)` or arrays, for criteria that look at data.
        scope: `global`: channels are compared over the whole model. `local`: every group loses the same fraction; with
            `round_to`, as nearly as its multiples and the target allow.
        round_to: Keep a multiple of this in every group, or all of it.
        min_channels: Keep at least so many channels in every group.
        max_sparsity: The largest fraction that a group may lose.
        ignore: Layers that keep all channels they make and read: names, patterns such as `stage1_*`, or layers.

    Returns:
        The plan: `print(plan.explain())`, then `plan.apply()`.

    Raises:
        ConfigError: A setting has no sense, or there are data for a criterion that looks at none.
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
    budget = Budget.of(flops, params, density)
    planner = Planner(model, budget, scope=scope, constraints=constraints, ignore=ignore)
    return planner.plan(scorer.scores(model, planner.groups), scorer.name)
