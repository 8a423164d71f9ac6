"""The text of a pruning plan: tables of its groups and totals, the limits that had an effect, and what is left alone.

Each function takes the values that it shows; `PruningPlan.explain` puts them together.
"""

from collections.abc import Iterable, Sequence

from tfprune.pruning.budget import MEASURES, Budget, Totals, WidthConstraints
from tfprune.pruning.group_plan import GroupPlan
from tfprune.pruning.protection import IGNORED, NEEDED, UNSCORED, WIDTH_KEPT

_LAYERS_WIDTH = 44
_SCOPES = {"global": "compared over the whole model", "local": "the same fraction of every group"}


def share_text(unknown: int, flops: int) -> str:
    """Returns which part of a model's FLOPs is estimated to be unknown, in percent."""
    share = 100 * unknown / (flops + unknown)
    return f"about {share:.{1 if share < 10 else 0}f} %"


def uncounted_text(uncounted: Sequence[str], unknown: int, flops: int) -> str:
    """Returns a phrase on the FLOPs that are not known; empty if all are."""
    if not uncounted:
        return ""
    return f"without those of {', '.join(uncounted)}, which are not known: {share_text(unknown, flops)} of the model's"


def summary_line(model: str, groups: Sequence[GroupPlan], before: Totals, after: Totals, uncounted: str = "") -> str:
    """Returns one line on what happens to a model."""
    smaller = sum(group.after < group.before for group in groups)
    return (
        f"PruningPlan({model}: {smaller} of {len(groups)} groups get smaller, "
        f"channels {before.channels:,} -> {after.channels:,}, parameters {_short(before.params)} -> "
        f"{_short(after.params)}, FLOPs {_short(before.flops)} -> {_short(after.flops)}"
        f"{uncounted and ', ' + uncounted})"
    )


def headline(model: str, budget: Budget, criterion: str, scope: str, uncounted: str = "") -> list[str]:
    """Returns lines that say what was asked for."""
    return [
        f"Plan for {model}: keep at most {100 * budget.fraction:.4g} % of its {MEASURES[budget.measure]}",
        *([f"  FLOPs are counted {uncounted}"] if uncounted else []),
        f"  channels ranked by {criterion}, {_SCOPES[scope]}",
    ]


def groups_table(groups: Sequence[GroupPlan]) -> list[str]:
    """Returns a table of the groups: layers, channels before and after, and what kept more than the scores."""
    rows = [("group", "made by", "channels", "", "", "kept", "held by")]
    for group in groups:
        held = ", ".join(f"{hold.reason} (+{hold.channels})" for hold in group.bound)
        share = f"{100 * group.after / group.before:.0f} %"
        rows.append((group.name, _layers(group), f"{group.before:,}", "->", f"{group.after:,}", share, held))
    return _aligned(rows, "<<>>>><") if groups else ["  no channels can be pruned"]


def _layers(group: GroupPlan) -> str:
    """Returns the names of a group's layers, as many as there is room for."""
    shown = ", ".join(group.layers)
    count = len(group.layers)
    while len(shown) > _LAYERS_WIDTH and count > 1:
        count -= 1
        shown = f"{', '.join(group.layers[:count])} and {len(group.layers) - count} more"
    return shown


def totals_table(before: Totals, after: Totals) -> list[str]:
    """Returns a table of the model's size before and after."""
    rows = [("", "before", "", "after", "kept")]
    for word, old, new in (
        ("channels", before.channels, after.channels),
        ("parameters", before.params, after.params),
        ("FLOPs", before.flops, after.flops),
    ):
        rows.append((word, f"{old:,}", "->", f"{new:,}", f"{100 * new / old:.2f} %" if old else ""))
    return _aligned(rows, "<>>>>")


def effective_limits(groups: Sequence[GroupPlan], constraints: WidthConstraints) -> list[str]:
    """Returns lines on the limits that kept more than the scores did; none if there are no such limits."""
    rows = []
    for name in ("min_channels", "max_sparsity", "round_to"):
        extra = [hold.channels for group in groups for hold in group.bound if hold.reason == name]
        if extra:
            kept = f"{_count(sum(extra), 'channel')} more than by score, in {_count(len(extra), 'group')}"
            rows.append((constraints.text(name), kept))
    return ["Limits that bound:", *_aligned(rows, "<<")] if rows else []


def left_alone(
    groups: Sequence[GroupPlan], criterion: str, ignore: Sequence[str], keep_width: Sequence[str], pinned: Sequence[str]
) -> list[str]:
    """Returns lines on what is not pruned, and why; none if everything can be pruned."""
    reasons = {
        IGNORED: f"ignored as asked ({', '.join(ignore)})",
        WIDTH_KEPT: f"keeps its width as asked ({', '.join(keep_width)})",
        UNSCORED: f"{criterion} gives no score",
        NEEDED: "or a layer would run empty",
    }
    rows = []
    for group in groups:
        for hold in group.protected:
            amount = "all" if hold.channels == group.before else f"{hold.channels:,} of"
            rows.append((group.name, f"{amount} {_count(group.before, 'channel')}", reasons[hold.reason]))
    rows += [(*name.partition(": ")[::2], "") for name in pinned]
    return ["Left alone:", *_aligned(rows, "<<<")] if rows else []


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
