"""A pruning plan in words."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tfprune.pruning.budget import MEASURES, Totals
from tfprune.pruning.group_plan import GroupPlan
from tfprune.pruning.protection import IGNORED, NEEDED, UNSCORED

if TYPE_CHECKING:
    from tfprune.pruning.plan import PruningPlan


_LAYERS_WIDTH = 44
_SCOPES = {"global": "compared over the whole model", "local": "the same fraction of every group"}


def summary_line(plan: "PruningPlan") -> str:
    """One line on a plan."""
    smaller = sum(group.after < group.before for group in plan.groups)
    before, after = plan.before, plan.after
    return (
        f"PruningPlan({plan.model}: {smaller} of {len(plan.groups)} groups get smaller, "
        f"channels {before.channels:,} -> {after.channels:,}, parameters {_short(before.params)} -> "
        f"{_short(after.params)}, FLOPs {_short(before.flops)} -> {_short(after.flops)})"
    )


def explain(plan: "PruningPlan") -> str:
    """A plan as a text to read.

    Args:
        plan: The plan.

    Returns:
        What was asked, a table of the groups, the totals, the limits that bound, and what is left alone and why.
    """
    head = [
        f"Plan for {plan.model}: keep at most {100 * plan.budget.fraction:.4g} % of its {MEASURES[plan.budget.measure]}"
    ]
    head.append(f"  channels ranked by {plan.criterion}, {_SCOPES[plan.scope]}")
    sections = [head, _groups(plan), _totals(plan.before, plan.after), _limits(plan), _alone(plan)]
    return "\n\n".join("\n".join(section) for section in sections if section)


def _groups(plan: "PruningPlan") -> list[str]:
    rows = [("group", "made by", "channels", "", "", "kept", "held by")]
    for group in plan.groups:
        held = ", ".join(f"{hold.reason} (+{hold.channels})" for hold in group.bound)
        share = f"{100 * group.after / group.before:.0f} %"
        rows.append((group.name, _made_by(group), f"{group.before:,}", "->", f"{group.after:,}", share, held))
    return _aligned(rows, "<<>>>><") if plan.groups else ["  no channels can be pruned"]


def _made_by(group: GroupPlan) -> str:
    """The layers, as many as there is room for."""
    shown = ", ".join(group.layers)
    count = len(group.layers)
    while len(shown) > _LAYERS_WIDTH and count > 1:
        count -= 1
        shown = f"{', '.join(group.layers[:count])} and {len(group.layers) - count} more"
    return shown


def _totals(before: Totals, after: Totals) -> list[str]:
    rows = [("", "before", "", "after", "kept")]
    for word, old, new in (
        ("channels", before.channels, after.channels),
        ("parameters", before.params, after.params),
        ("FLOPs", before.flops, after.flops),
    ):
        rows.append((word, f"{old:,}", "->", f"{new:,}", f"{100 * new / old:.2f} %" if old else ""))
    return _aligned(rows, "<>>>>")


def _limits(plan: "PruningPlan") -> list[str]:
    """The limits that kept more than the scores did."""
    rows = []
    for name in ("min_channels", "max_sparsity", "round_to"):
        extra = [hold.channels for group in plan.groups for hold in group.bound if hold.reason == name]
        if extra:
            kept = f"{_count(sum(extra), 'channel')} more than by score, in {_count(len(extra), 'group')}"
            rows.append((f"{name}={getattr(plan.constraints, name):g}", kept))
    return ["Limits that bound:", *_aligned(rows, "<<")] if rows else []


def _alone(plan: "PruningPlan") -> list[str]:
    """What is not pruned, and why."""
    rows = []
    for group in plan.groups:
        for hold in group.protected:
            amount = "all" if hold.channels == group.before else f"{hold.channels:,} of"
            rows.append((group.name, f"{amount} {_count(group.before, 'channel')}", _why(hold.reason, plan)))
    rows += [(*name.partition(": ")[::2], "") for name in plan.pinned]
    rows += [(name, "its FLOPs are not known, they count as 0", "") for name in plan.uncounted]
    return ["Left alone:", *_aligned(rows, "<<<")] if rows else []


def _why(reason: str, plan: "PruningPlan") -> str:
    words = {
        IGNORED: f"ignored as asked ({', '.join(plan.ignore)})",
        UNSCORED: f"{plan.criterion} gives no score",
        NEEDED: "or a layer would run empty",
    }
    return words[reason]


def _aligned(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_line(row, widths, sides) for row in rows]


def _line(row: Iterable[str], widths: Iterable[int], sides: str) -> str:
    cells = (f"{cell:{side}{width}}" for cell, width, side in zip(row, widths, sides, strict=True))
    return ("  " + "  ".join(cells)).rstrip()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _short(number: int) -> str:
    for unit, name in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)
