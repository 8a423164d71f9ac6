"""A decision which channels of a model stay: it can be read, stored and carried out."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfprune.errors import PruningError, TfpruneError
from tfprune.files import write_text
from tfprune.graph import ChannelGroups, channel_groups
from tfprune.pruning.budget import Budget, Totals, WidthConstraints
from tfprune.pruning.cut import cut
from tfprune.pruning.explain import explain, summary_line
from tfprune.pruning.group_plan import GroupPlan, Hold

_FORMAT = "tfprune pruning plan 1"


@dataclass(frozen=True)
class PruningPlan:
    """Which channels of a model stay, and why.

    Making a plan costs no pruning and changes nothing; `apply` carries it out.

    Attributes:
        model: Name of the model.
        criterion: Name of the criterion that ranked the channels.
        budget: What was asked for.
        scope: `global` or `local`.
        constraints: Limits of the widths.
        ignore: Layers that were to be left alone.
        groups: What happens to each channel group.
        before: The model's totals.
        after: Those of the pruned model.
        pinned: Layers without a rule, whose channels stay: name, class and reason.
        uncounted: Layers whose FLOPs are not known.
        source: The model that the plan was made from; None in a plan that was loaded.

    Example:
        >>> import keras, tfprune
        >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(8, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
        >>> plan = tfprune.plan_channels(keras.Sequential(layers), "l2", density=0.5)
        >>> plan.after.channels
        4
        >>> plan.apply().layers[0].filters
        4
    """

    model: str
    criterion: str
    budget: Budget
    scope: str
    constraints: WidthConstraints
    ignore: tuple[str, ...]
    groups: tuple[GroupPlan, ...]
    before: Totals
    after: Totals
    pinned: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()
    source: keras.Model | None = field(default=None, compare=False, repr=False)

    @property
    def keep(self) -> Mapping[str, tuple[int, ...]]:
        """The units that stay in each group, by its name."""
        return {group.name: group.keep for group in self.groups}

    @property
    def mask(self) -> np.ndarray:
        """Bool `[channels]`, True for the units that stay, as `tfprune.slim` takes it."""
        parts = [np.isin(np.arange(group.size), group.keep) for group in self.groups]
        return np.concatenate(parts) if parts else np.zeros(0, bool)

    def apply(
        self, model: keras.Model | None = None, *, keep_optimizer: bool = False, reweight: Any = None
    ) -> keras.Model:
        """Makes the smaller model.

        Args:
            model: A model of the same layers, perhaps with other weights. It is not changed. Default: the model that
                the plan was made from.
            keep_optimizer: Carry the state of a compiled model's optimizer over, cut like the weights.
            reweight: Data, batches `(x, y)` or `x`, or arrays, on which the kernels that read cut channels make up for
                them by least squares, see `tfprune.pruning.reweight`. A `ReweightingWarning` names layers whose kernels
                cannot.

        Returns:
            A new model.

        Raises:
            ConfigError: The data to reweight on cannot be used.
            PruningError: The plan has no model and none is given, or it belongs to another model, or the optimizer's
                state cannot be carried over.
        """
        model = self.source if model is None else model
        if model is None:
            raise PruningError("a plan that was loaded has no model; give it: plan.apply(model)")
        groups = channel_groups(model)
        self._check(model, groups)
        return cut(model, self.mask, groups, keep_optimizer=keep_optimizer, data=reweight)

    def explain(self) -> str:
        """A table of what happens to each group, what is left alone and why, and which limits bound."""
        return explain(self)

    def to_json(self) -> str:
        """The plan as JSON, without the model."""
        return plan_to_json(self)

    @classmethod
    def from_json(cls, text: str) -> "PruningPlan":
        """A plan from JSON; `PruningError` if it is none."""
        return plan_from_json(cls, text)

    def save(self, path: str | Path) -> None:
        """Writes the plan to a JSON file, in one step."""
        save_plan(self, path)

    @classmethod
    def load(cls, path: str | Path) -> "PruningPlan":
        """Reads a plan from a JSON file; `PruningError` if it is missing or holds no plan."""
        return load_plan(cls, path)

    def __str__(self) -> str:
        return summary_line(self)

    def _check(self, model: keras.Model, groups: ChannelGroups) -> None:
        found = {group.name: (group.size, group.layers) for group in groups}
        meant = {group.name: (group.size, group.layers) for group in self.groups}
        if list(found) == list(meant) and found == meant:
            return
        name = next((name for name in [*meant, *found] if found.get(name) != meant.get(name)), "")
        raise PruningError(
            f"the plan was made for {self.model} and does not fit {model.name}: expected "
            f"{_channels_shown(name, meant)}, received {_channels_shown(name, found)}; make a plan for this model"
        )


def _channels_shown(name: str, groups: Mapping[str, tuple[int, tuple[str, ...]]]) -> str:
    if not name:
        return f"the groups in the order {', '.join(groups)}"
    if name not in groups:
        return f"no group {name}"
    size, layers = groups[name]
    return f"the group {name} of {size} units, made by {', '.join(layers)}"


def plan_to_json(plan: "PruningPlan") -> str:
    """A plan as JSON; its model is left out."""
    content = asdict(replace(plan, source=None))
    del content["source"]
    lines = [f"{json.dumps(key)}: {_as_json(value)}" for key, value in {"format": _FORMAT, **content}.items()]
    return "{\n  " + ",\n  ".join(lines) + "\n}\n"


def _as_json(value: Any) -> str:
    """One line per group, so that two plans can be compared line by line."""
    if isinstance(value, tuple | list) and value and isinstance(value[0], dict):
        return "[\n    " + ",\n    ".join(json.dumps(each) for each in value) + "\n  ]"
    return json.dumps(value)


def plan_from_json(kind: "type[PruningPlan]", text: str) -> "PruningPlan":
    """The plan that `plan_to_json` wrote."""
    try:
        content = json.loads(text)
        found = content.pop("format", None) if isinstance(content, dict) else None
        if found != _FORMAT:
            raise PruningError(f"expected a file of the format {_FORMAT!r}, received {found!r}")
        made: dict[str, Any] = {
            "budget": Budget(**content.pop("budget")),
            "constraints": WidthConstraints(**content.pop("constraints")),
            "groups": tuple(_group(each) for each in content.pop("groups")),
            "before": Totals(**content.pop("before")),
            "after": Totals(**content.pop("after")),
        }
        rest: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
        }
        return kind(**made, **rest)
    except TfpruneError as error:
        raise PruningError(f"no pruning plan: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PruningError(f"no pruning plan, it is damaged: {error!r}") from error


def _group(content: dict[str, Any]) -> GroupPlan:
    holds: dict[str, Any] = {name: tuple(Hold(**each) for each in content.pop(name)) for name in ("protected", "bound")}
    lists: dict[str, Any] = {name: tuple(content.pop(name)) for name in ("layers", "keep")}
    return GroupPlan(**holds, **lists, **content)


def save_plan(plan: "PruningPlan", path: str | Path) -> None:
    """Writes a plan to a file."""
    try:
        write_text(Path(path), plan_to_json(plan))
    except OSError as error:
        raise PruningError(f"cannot write the plan {path}: {error.strerror}") from error


def load_plan(kind: "type[PruningPlan]", path: str | Path) -> "PruningPlan":
    """Reads a plan from a file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PruningError(f"cannot read the plan {path}: {error}") from error
    try:
        return plan_from_json(kind, text)
    except PruningError as error:
        raise PruningError(f"{path}: {error}") from error
