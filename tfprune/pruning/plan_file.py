"""Pruning plans as JSON."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfprune.errors import PruningError, TfpruneError
from tfprune.files import write_text
from tfprune.pruning.budget import Budget
from tfprune.pruning.group_plan import GroupPlan, Hold
from tfprune.pruning.totals import Totals
from tfprune.pruning.width_constraints import WidthConstraints

if TYPE_CHECKING:
    from tfprune.pruning.plan import PruningPlan

_FORMAT = "tfprune pruning plan 1"


def plan_to_json(plan: "PruningPlan") -> str:
    """A plan as JSON; its model is left out."""
    content = asdict(replace(plan, source=None))
    del content["source"]
    lines = [f"{json.dumps(key)}: {_shown(value)}" for key, value in {"format": _FORMAT, **content}.items()]
    return "{\n  " + ",\n  ".join(lines) + "\n}\n"


def _shown(value: Any) -> str:
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
