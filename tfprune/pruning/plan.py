"""A pruning plan: a decision about a model's channels that can be read, stored and carried out."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfprune.arguments import line_width, truth
from tfprune.errors import PruningError, check_choice
from tfprune.files import as_file, as_path, write_text
from tfprune.graph import ChannelGroups, CostModel, Match, channel_groups, functional_model
from tfprune.graph.calls import check_weights
from tfprune.pruning.budget import Budget, Totals, WidthConstraints
from tfprune.pruning.cut import cut
from tfprune.pruning.depth import DepthPlan, drop_blocks, held_back, in_its_class
from tfprune.pruning.explain import (
    blocks_table,
    effective_limits,
    groups_table,
    headline,
    left_alone,
    opened_text,
    summary_line,
    totals_table,
    uncounted_text,
    unused_text,
)
from tfprune.pruning.group_plan import GroupPlan
from tfprune.pruning.removal import Scope
from tfprune.pruning.widths import Widths
from tfprune.reading import Count, Name, RefusedError, json_value, read_json, reading, typed
from tfprune.reprs import short
from tfprune.tables import WIDTH, shortened

_FORMAT = "tfprune pruning plan 2"
_NAMES = 60  # characters of names in a message
HISTORY_FORMAT = "tfprune pruning history 1"
"""The format of a file of several plans, see `PruningHistory`."""


@dataclass(frozen=True)
class PruningPlan:
    """Which channels and residual blocks of a model are kept, and why.

    Making a plan changes nothing; `apply` carries it out. Groups are those of what is left without the blocks that are
    dropped, totals those of the whole model and of the result.

    Attributes:
        model: Name of the model.
        criterion: Name of the criterion that ranked the channels.
        budget: What was asked for; None if only blocks were to be dropped.
        scope: `global` or `local`.
        constraints: Limits of the widths.
        ignore: Layers that were to be left alone.
        groups: What happens to each channel group.
        before: The model's totals.
        after: Those of the pruned model.
        pinned: Channels that cannot be removed, one text for each reason: the layers that make them, the one that needs
            them, and why.
        outputs: The outputs of the model, which always stay, as texts of the same kind.
        uncounted: Layers whose FLOPs are not known; they are not part of the totals.
        unknown: What these are estimated to cost, in multiply-adds.
        keep_width: Layers that were to keep the width of what they produce.
        depth: Which residual blocks are kept; None if they were left alone.
        keep_classes: Whether layers with layers within them were to stay of their class.
        expanded: The layers that functional models of the same layers take the place of.
        sizes: The shapes of the inputs for which the model was read, and FLOPs counted, if a layer needs to know them.
        source: The model that the plan was made from; None in a plan that was loaded.

    Raises:
        PruningError: Two groups have one name, or the totals contradict each other, the groups or the budget.

    Example:
        >>> import keras, tfprune
        >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(8, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
        >>> plan = tfprune.plan_channels(keras.Sequential(layers), "l2", density=0.5)
        >>> plan.after.channels
        4
        >>> plan.apply().layers[0].filters
        4
    """

    model: Name
    criterion: Name
    budget: Budget | None
    scope: Scope
    constraints: WidthConstraints
    ignore: tuple[str, ...]
    groups: tuple[GroupPlan, ...]
    before: Totals
    after: Totals
    pinned: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()
    unknown: Count = 0
    keep_width: tuple[str, ...] = ()
    depth: DepthPlan | None = None
    keep_classes: bool = False
    expanded: tuple[str, ...] = ()
    sizes: tuple[tuple[Count, ...], ...] = ()
    source: keras.Model | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        if twice := [name for index, name in enumerate(names) if name in names[:index]]:
            raise PruningError(f"groups: expected groups of different names, received {short(twice[0])} twice")
        for name in ("channels", "params", "flops"):
            before, after = getattr(self.before, name), getattr(self.after, name)
            if after > before and not (name == "channels" and self.dropped):  # a block may hold channels around it
                raise PruningError(f"after.{name}: expected at most {before}, the number before, received {after}")
        if self.budget and not self.budget.met(self.after.of(self.budget.measure), self.before.of(self.budget.measure)):
            raise PruningError(
                f"after: expected totals within the budget {self.budget}, received {self.after} of {self.before}"
            )

    @property
    def keep(self) -> Mapping[str, tuple[int, ...]]:
        """The channels that are kept in each group, by its name."""
        return {group.name: group.keep for group in self.groups}

    @property
    def dropped(self) -> tuple[str, ...]:
        """Names of the residual blocks that are dropped."""
        return () if self.depth is None else self.depth.dropped

    @property
    def mask(self) -> np.ndarray:
        """Bool `[channels]`, True for the channels that are kept, as `tfprune.slim` takes it for `remaining(model)`."""
        parts = [np.isin(np.arange(group.size), group.keep) for group in self.groups]
        return np.concatenate(parts) if parts else np.zeros(0, bool)

    def apply(
        self,
        model: keras.Model | None = None,
        *,
        match: Match = "name",
        keep_optimizer: bool = False,
        reweight: Any = None,
    ) -> keras.Model:
        """Returns the smaller model.

        Args:
            model: A model of the same layers, perhaps with other weights. It is not changed. Default: the model that
                the plan was made from.
            match: `name`: its layers have the names that the plan has. `position`: they may have others, such as Keras'
                automatic ones, and are matched in their order.
            keep_optimizer: Carry the state of a compiled model's optimizer over, cut like the weights.
            reweight: Data, batches `(x, y)` or `x`, or arrays, on which the kernels that read cut channels compensate
                for them by least squares, see `tfprune.pruning.reweight`. A `ReweightingWarning` names layers whose
                kernels cannot.

        Returns:
            A new model.

        Raises:
            ConfigError: The data to reweight on cannot be used, or `match` is unknown.
            PruningError: The plan has no model and none is given, or it belongs to another model, or the optimizer's
                state cannot be carried over.
            UnsupportedLayerError: Keras has quantized the model.
        """
        model = self.source if model is None else model
        if model is None:
            raise PruningError("a plan that was loaded has no model; give it: plan.apply(model)")
        model = functional_model(model)
        check_weights(model)
        with held_back() as said:
            rest = self.remaining(model, match, keep_optimizer=truth("keep_optimizer", keep_optimizer))
        groups, mask = channel_groups(rest, keep_classes=self.keep_classes), self.mask
        self.check(rest, groups, match, whole=model)
        whole = rest is not model and mask.all() and reweight is None
        small = rest if whole else cut(rest, mask, groups, keep_optimizer=keep_optimizer, data=reweight, stacklevel=2)
        return in_its_class(model, small, self.dropped, said)

    def remaining(self, model: keras.Model, match: Match = "name", *, keep_optimizer: bool = False) -> keras.Model:
        """Returns a model without the residual blocks that the plan drops; the model itself if it drops none.

        Args:
            model: A model of the same layers. It is not changed.
            match: See `apply`.
            keep_optimizer: Carry the state of a compiled model's optimizer over.

        Raises:
            PruningError: The model has other blocks, or the optimizer's state cannot be carried over.
        """
        check_choice("match", match, Match)
        if self.depth is None or not self.dropped:
            return model
        return drop_blocks(
            model, self.depth.found_in(model, match, keep_classes=self.keep_classes), keep_optimizer=keep_optimizer
        )

    def explain(self, *, width: int = WIDTH) -> str:
        """Returns a text: a table of the groups, the totals, the limits that had an effect, what is left alone.

        Args:
            width: Characters per line.
        """
        width = line_width(width)
        sections = [
            headline(
                self.model, self.budget, self.criterion, self.scope, self.depth, self.uncounted_text(shown=None), width
            ),
            blocks_table(self.depth, width),
            groups_table(self.groups, width) if self.budget else "",
            totals_table(self.before, self.after),
            opened_text(self.sizes, self.expanded, width),
            unused_text(self.budget, self.scope, self.before, self.after, self.groups, width),
            effective_limits(self.groups, self.constraints, width),
            left_alone(self.groups, self.criterion, self.ignore, self.keep_width, (*self.pinned, *self.outputs), width)
            if self.budget
            else "",
        ]
        return "\n\n".join(section for section in sections if section)

    def __str__(self) -> str:
        return summary_line(self.model, self.depth, self.groups, self.before, self.after, self.uncounted_text())

    def uncounted_text(self, shown: int | None = 3) -> str:
        """Returns a phrase on the layers whose FLOPs are not known; empty if all are.

        Args:
            shown: How many of them to name; None for all.
        """
        return uncounted_text(self.uncounted, self.unknown, self.before.flops, shown)

    __repr__ = __str__

    def to_json(self) -> str:
        """Returns the plan as JSON, without the model."""
        content = asdict(replace(self, source=None))
        del content["source"]
        lines = [f"{json.dumps(key)}: {_as_json(value)}" for key, value in {"format": _FORMAT, **content}.items()]
        return "{\n  " + ",\n  ".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> "PruningPlan":
        """Returns the plan that `to_json` wrote.

        Args:
            text: The JSON text.

        Raises:
            PruningError: The text is no plan, or a damaged one.
        """
        with reading_plans("the text"):
            return plan_of(json_value(text))

    def save(self, path: str | Path) -> None:
        """Writes the plan to a JSON file, in one step.

        Args:
            path: The file.

        Raises:
            PruningError: The file cannot be written.
        """
        write_plans(path, self.to_json(), "plan")

    @classmethod
    def load(cls, path: str | Path) -> "PruningPlan":
        """Reads a plan from a JSON file.

        Args:
            path: The file.

        Raises:
            PruningError: The file is missing or holds no plan.
        """
        with reading_plans(as_path(path)):
            return plan_of(read_json(as_path(path)))

    def check(
        self,
        model: keras.Model,
        groups: ChannelGroups,
        match: Match = "name",
        cost: CostModel | None = None,
        *,
        whole: keras.Model | None = None,
    ) -> None:
        """Raises `PruningError` if the plan does not belong to a model.

        Groups, widths and numbers of parameters must agree. FLOPs may differ: they depend on the size of the inputs.

        Args:
            model: What `remaining` returns of the model.
            groups: Its channel groups.
            match: See `apply`.
            cost: Its costs. Default: they are counted.
            whole: The model, if it has blocks that the plan drops. Default: it has none.
        """
        check_choice("match", match, Match)
        cost = cost or CostModel(model, groups)
        before = total_size(model, groups, cost) if whole in (None, model) else total_size(whole)
        found = {group.name: (group.size, group.layers) for group in groups}
        meant = {group.name: (group.size, group.layers) for group in self.groups}
        alike = [(size, len(layers)) for size, layers in found.values()] == [
            (size, len(layers)) for size, layers in meant.values()
        ]
        named = list(found) == list(meant) and found == meant
        if alike and (named or match == "position"):
            wrong = self._other_numbers(groups, cost, before)
        else:
            name = next((name for name in [*meant, *found] if found.get(name) != meant.get(name)), "")
            wrong = f"expected {_described(name, meant)}, received {_described(name, found)}"
        if not wrong:
            return
        hint = 'or, as the groups agree in order and size, match them by position: apply(model, match="position")'
        matching = alike and match == "name" and not named and not self._other_numbers(groups, cost, before)
        if "after" in wrong.split(":")[0]:
            hint, matching = "as the file's numbers do not belong to its channels: was it edited?", True
        raise PruningError(
            f"the plan was made for {shortened(self.model, _NAMES)} and does not fit {model.name}: {wrong}; "
            f"make a plan for this model{', ' + hint if matching else ''}"
        )

    def _other_numbers(self, groups: ChannelGroups, cost: CostModel, before: Totals) -> str:
        """Returns which number of the plan a model does not have; empty if it has all."""
        widths, everything, mask = Widths(groups), np.ones(groups.channels, bool), self.mask
        numbers = [
            ("before.channels", self.before.channels, before.channels),
            ("after.channels", self.after.channels, widths.channels(mask)),
            ("before.params", self.before.params, before.params),
            ("after.params", self.after.params, cost.totals(mask)[0]),
        ]
        for index, (plan, group) in enumerate(zip(self.groups, groups, strict=True)):
            width = widths.layers[group.name]
            numbers.append((f"groups[{index}].before", plan.before, width.of(everything)))
            numbers.append((f"groups[{index}].after", plan.after, width.of(mask)))
        return next(
            (f"{name}: expected {there}, received {here}" for name, here, there in numbers if here != there), ""
        )


def total_size(model: keras.Model, groups: ChannelGroups | None = None, cost: CostModel | None = None) -> Totals:
    """Returns the totals of a whole model.

    Args:
        model: The model.
        groups: Its channel groups. Default: they are found.
        cost: Its costs. Default: they are counted.
    """
    groups = channel_groups(model) if groups is None else groups
    everything = np.ones(groups.channels, bool)
    return Totals(Widths(groups).channels(everything), *(cost or CostModel(model, groups)).totals(everything))


def write_plans(path: str | Path, text: str, content: str) -> None:
    """Writes a JSON file of plans, in one step; raises `PruningError` with the word for its content if it cannot."""
    try:
        write_text(as_file(path), text)
    except OSError as error:
        raise PruningError(f"cannot write the {content} {path}: {error.strerror}; name another place") from error


def reading_plans(path: str | Path) -> AbstractContextManager[None]:
    """Returns a context that turns what is wrong with a file of plans into one line, see `tfprune.reading.reading`."""
    return reading(path, "a pruning plan", error=PruningError, advice="make the plan again")


def plan_of(content: Any) -> PruningPlan:
    """Returns the plan that the values of a JSON text stand for; raises `RefusedError` if they are none."""
    found = content.get("format") if isinstance(content, dict) else None
    if found == HISTORY_FORMAT:
        raise RefusedError("it has the plans of several steps; read it by PruningHistory.load")
    if found != _FORMAT:
        raise RefusedError(f"format: expected {_FORMAT!r}, got {short(found)}")
    return typed({name: value for name, value in content.items() if name != "format"}, PruningPlan)


def _described(name: str, groups: Mapping[str, tuple[int, tuple[str, ...]]]) -> str:
    if not name:
        return f"the groups in the order {shortened(', '.join(groups), _NAMES)}"
    if name not in groups:
        return f"no group {shortened(name, _NAMES)}"
    size, layers = groups[name]
    produced = shortened(", ".join(layers), _NAMES)
    return f"the group {shortened(name, _NAMES)} of {size} channels, produced by {produced}"


def _as_json(value: Any) -> str:
    """Formats a value with one line per group and block, so that two plans can be compared line by line."""
    if isinstance(value, dict) and any(isinstance(each, tuple | list) for each in value.values()):
        return "{" + ", ".join(f"{json.dumps(key)}: {_as_json(each)}" for key, each in value.items()) + "}"
    if isinstance(value, tuple | list) and value and isinstance(value[0], dict):
        return "[\n    " + ",\n    ".join(json.dumps(each) for each in value) + "\n  ]"
    return json.dumps(value)
