"""The record of pruning in steps: one plan for each, which can be stored and carried out again."""

import inspect
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
from msgspec import Meta

from tfprune.arguments import truth
from tfprune.batches.inputs import input_batches
from tfprune.errors import ConfigError, PruningError
from tfprune.files import as_path
from tfprune.graph import ChannelGroups, CostModel, Match, channel_groups, functional_model
from tfprune.graph.calls import check_weights
from tfprune.pruning.cut import cut
from tfprune.pruning.depth import held_back, in_its_class
from tfprune.pruning.plan import HISTORY_FORMAT, PruningPlan, plan_of, reading_plans, write_plans
from tfprune.pruning.recalibration import Recalibration
from tfprune.reading import RefusedError, read_json, typed
from tfprune.reprs import described
from tfprune.tables import count

Between = Callable[[keras.Model, int], keras.Model | None]
"""What to do between two steps: it trains the model it is given, or returns another of the same layers."""


class PruningHistory:
    """The plans of the steps of `prune_channels`, each in terms of the whole model.

    Args:
        plans: The plans; `prune_channels(history=...)` adds those of its steps.

    Attributes:
        plans: The plans.

    Example:
        >>> import keras, tfprune
        >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(8, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
        >>> model, history = keras.Sequential(layers), PruningHistory()
        >>> small = tfprune.prune_channels(model, "l2", density=0.5, steps=2, history=history)
        >>> [plan.after.channels for plan in history.plans]
        [6, 4]
        >>> history.replay(model).layers[0].filters
        4
    """

    def __init__(self, plans: Iterable[PruningPlan] = ()) -> None:
        self.plans = list(plans)

    def replay(
        self,
        model: keras.Model,
        *,
        match: Match = "name",
        between: Between | None = None,
        reweight: Any = None,
        recalibrate: Any = None,
        keep_optimizer: bool = False,
    ) -> keras.Model:
        """Carries out the recorded steps again; with the same settings the result is the same, bit for bit.

        Args:
            model: A model of the same layers, perhaps with other weights. It is not changed.
            match: How its layers are found, see `PruningPlan.apply`.
            between: See `prune_channels`, as for all others.
            reweight: Data on which kernels compensate for cut channels.
            recalibrate: Data to measure the moving averages of batch norms on.
            keep_optimizer: Carry the state of the optimizer over.

        Returns:
            A new model.

        Raises:
            PruningError: The history is empty or belongs to another model, or `between` returned one of other layers.
        """
        check_between(between)
        original = model
        with held_back() as said:
            model, whole = self._checked(model, match, truth("keep_optimizer", keep_optimizer))
        kept = np.ones(whole.channels, bool)
        for step, plan in enumerate(self.plans, start=1):
            groups = remaining_groups(model, whole, kept)
            model = carried_out(model, groups, plan.mask[kept], reweight, recalibrate, keep_optimizer=keep_optimizer)
            kept = plan.mask
            if between is not None and step < len(self.plans):
                other = between(model, step)
                model = model if other is None else other
        return in_its_class(original, model, self.plans[0].dropped, said)

    def check(self, model: keras.Model, match: Match = "name") -> ChannelGroups:
        """Checks that the steps belong to a model.

        Args:
            model: The model.
            match: How its layers are found, see `PruningPlan.apply`.

        Returns:
            The channel groups of what is left without the residual blocks that the first step drops.

        Raises:
            PruningError: The history is empty or belongs to another model.
            UnsupportedLayerError: Keras has quantized the model.
        """
        return self._checked(model, match, keep_optimizer=False)[1]

    def _checked(self, model: keras.Model, match: Match, keep_optimizer: bool) -> tuple[keras.Model, ChannelGroups]:
        """Returns what is left of a model without the residual blocks that the first step drops, and its groups."""
        if not self.plans:
            raise PruningError("the history has no steps; give it to prune_channels(history=...) first")
        model = functional_model(model)
        check_weights(model)
        rest = self.plans[0].remaining(model, match, keep_optimizer=keep_optimizer)
        groups = channel_groups(rest, keep_classes=self.plans[0].keep_classes)
        cost, kept = CostModel(rest, groups), np.ones(groups.channels, bool)
        for step, plan in enumerate(self.plans, start=1):
            if plan.dropped != self.plans[0].dropped:
                raise PruningError(f"step {step} drops other residual blocks than the first; record the history again")
            plan.check(rest, groups, match, cost, whole=model)
            if np.any(plan.mask & ~kept):
                raise PruningError(f"step {step} keeps channels that a step before removed; record the history again")
            kept = plan.mask
        return rest, groups

    def __repr__(self) -> str:
        return f"PruningHistory({count(len(self.plans), 'step')}{''.join(f', {plan}' for plan in self.plans[-1:])})"

    def save(self, path: str | Path) -> None:
        """Writes the plans to a JSON file, in one step.

        Args:
            path: The file.

        Raises:
            PruningError: The file cannot be written.
        """
        plans = ",\n".join(plan.to_json().strip() for plan in self.plans)
        write_plans(path, f'{{"format": {json.dumps(HISTORY_FORMAT)}, "plans": [\n{plans}\n]}}\n', "history")

    @classmethod
    def load(cls, path: str | Path) -> "PruningHistory":
        """Reads the plans from a JSON file; a single plan is a history of one step.

        Args:
            path: The file.

        Raises:
            PruningError: The file is missing or holds no plans.
        """
        with reading_plans(as_path(path)):
            return cls(_plans(read_json(as_path(path))))


@dataclass(frozen=True)
class _Steps:
    """What a file of several plans has."""

    format: str
    plans: Annotated[tuple[Any, ...], Meta(min_length=1)]


def _plans(content: Any) -> list[PruningPlan]:
    """Returns the plans that the values of a JSON text stand for: those of a history, or a single one."""
    if not isinstance(content, dict) or content.get("format") != HISTORY_FORMAT:
        return [plan_of(content)]
    plans: list[PruningPlan] = []
    for index, step in enumerate(typed(content, _Steps).plans):
        try:
            plans.append(plan_of(step))
        except RefusedError as error:
            raise RefusedError(f"plans[{index}].{error}") from error
    return plans


def check_between(between: object) -> None:
    """Raises `ConfigError` unless `between` can be called with a model and the number of a step."""
    if between is None:
        return
    if not callable(between):
        raise ConfigError(f"between: expected a function between(model, step), received {described(between)}")
    try:
        signature = inspect.signature(between)
    except (TypeError, ValueError):  # of compiled code, which says itself what it takes
        return
    try:
        signature.bind("model", 1)
    except TypeError as error:
        name = getattr(between, "__name__", type(between).__name__)
        raise ConfigError(f"between: expected a function between(model, step), received {name}{signature}") from error


def carried_out(
    model: keras.Model,
    groups: ChannelGroups,
    mask: np.ndarray,
    reweight: Any = None,
    recalibrate: Any = None,
    *,
    keep_optimizer: bool = False,
) -> keras.Model:
    """Carries out one step.

    Args:
        model: The model before the step. It is not changed.
        groups: Its channel groups.
        mask: Bool `[channels of these]`, what is kept.
        reweight: Data on which kernels compensate for cut channels; None to leave them.
        recalibrate: Data to measure the moving averages of batch norms on; None to leave them.
        keep_optimizer: Carry the state of the optimizer over.

    Returns:
        A new model.
    """
    small = cut(model, mask, groups, keep_optimizer=keep_optimizer, data=reweight, stacklevel=3)
    if recalibrate is not None:
        Recalibration(small)({"images": x} for x in input_batches(small, recalibrate, "recalibrate"))
    return small


def remaining_groups(model: keras.Model, whole: ChannelGroups, kept: np.ndarray) -> ChannelGroups:
    """Returns the groups of a partly pruned model, which must be what was kept of the whole model's.

    Args:
        model: The partly pruned model.
        whole: The whole model's groups.
        kept: Bool `[channels]`, what was kept.

    Raises:
        PruningError: The model has other layers.
    """
    groups = channel_groups(model, keep_classes=whole.keep_classes)
    meant = [(group.name, int(kept[group.channels].sum())) for group in whole]
    found = [(group.name, group.size) for group in groups]
    if meant != found:
        expected, received = next(
            ((a, b) for a, b in zip(meant, found, strict=False) if a != b), (f"{len(meant)} groups", len(found))
        )
        raise PruningError(
            f"between: expected a model of the layers that it was given (group {expected}), received {received}; "
            "train that model, or return a copy of it"
        )
    return groups
