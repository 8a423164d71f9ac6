"""The text of a pruning plan: tables of its groups and totals, the limits that had an effect, and what is left alone.

Each function takes the values that it shows; `PruningPlan.explain` puts them together.
"""

from collections.abc import Sequence

from tfprune.graph.calls import is_meant
from tfprune.graph.channel_groups import other_makers
from tfprune.pruning.budget import MEASURES, Budget, Totals, WidthConstraints
from tfprune.pruning.depth import DepthPlan
from tfprune.pruning.group_plan import GroupPlan
from tfprune.pruning.protection import IGNORED, NEEDED, UNSCORED, WIDTH_KEPT
from tfprune.tables import Cell, Column, count, listed, make_table, paragraph

_MOST_UNUSED = 0.05
"""The fraction of a target that may stay unused without a word."""

_HOLDING = {IGNORED: "ignored as asked", WIDTH_KEPT: "its width is kept as asked"}
"""What the user wants to keep, in words."""

_SCOPES = {"global": "compared over the whole model", "local": "the same fraction of every group"}


def share_text(unknown: int, flops: int) -> str:
    """Returns which part of a model's FLOPs is estimated to be unknown, in percent."""
    share = 100 * unknown / max(1, flops + unknown)
    return f"about {share:.{1 if share < 10 else 0}f} %"


def uncounted_text(uncounted: Sequence[str], unknown: int, flops: int, shown: int | None = 3) -> str:
    """Returns a phrase on the FLOPs that are not known, with the first layers' names; empty if all are known."""
    if not uncounted:
        return ""
    return (
        f"without those of {listed(uncounted, shown)}, which are not known: {share_text(unknown, flops)} of the model's"
    )


def summary_line(
    model: str,
    depth: DepthPlan | None,
    groups: Sequence[GroupPlan],
    before: Totals,
    after: Totals,
    uncounted: str = "",
) -> str:
    """Returns one line on what happens to a model."""
    dropped = "" if depth is None else f"{len(depth.dropped)} of {len(depth.blocks)} residual blocks are dropped, "
    smaller = sum(group.after < group.before for group in groups)
    return (
        f"PruningPlan({model}: {dropped}{smaller} of {len(groups)} groups get smaller, "
        f"channels {before.channels:,} -> {after.channels:,}, parameters {_short(before.params)} -> "
        f"{_short(after.params)}, FLOPs {_short(before.flops)} -> {_short(after.flops)}"
        f"{uncounted and ', ' + uncounted})"
    )


def headline(
    model: str,
    budget: Budget | None,
    criterion: str,
    scope: str,
    depth: DepthPlan | None,
    uncounted: str,
    width: int,
) -> str:
    """Returns lines that say what was asked for."""
    targets = [f"at least {100 * depth.fraction:.4g} % of its residual blocks"] if depth else []
    targets += [f"at most {100 * budget.fraction:.4g} % of its {MEASURES[budget.measure]}"] if budget else []
    lines = [
        f"Plan for {model}: keep {' and '.join(targets)}",
        *([f"FLOPs are counted {uncounted}"] if uncounted else []),
        *([f"residual blocks ranked by {depth.criterion}, dropped first"] if depth else []),
        *([f"channels ranked by {criterion}, {_SCOPES[scope]}"] if budget else []),
    ]
    indents = (0, *[2] * len(lines))
    return "\n".join(paragraph(line, width=width, indent=indent) for line, indent in zip(lines, indents, strict=False))


def blocks_table(depth: DepthPlan | None, width: int) -> str:
    """Returns a table of the residual blocks, with their scores; empty if they were left alone."""
    if depth is None:
        return ""
    held = {"": "", **_HOLDING}
    rows = [
        (block.name, f"{block.score:.4g}", "stays" if block.keep else "dropped", held[block.held])
        for block in depth.blocks
    ]
    columns = [Column("block", "name"), Column("score"), Column("", "name"), Column("", "text")]
    return make_table(columns, rows, width=width)


def groups_table(groups: Sequence[GroupPlan], width: int) -> str:
    """Returns a table of the groups: channels before and after, other layers that make them, what held more than asked.

    Args:
        groups: The groups.
        width: Characters per line.
    """
    if not groups:
        return "  no channels can be pruned"
    rows: list[Sequence[Cell]] = []
    for group in groups:
        held = ", ".join(f"{hold.reason} (+{hold.channels})" for hold in group.bound)
        share = f"{100 * group.after / group.before:.0f} %"
        makers = other_makers(group.name, group.layers)
        rows.append((group.name, makers, f"{group.before:,}", "->", f"{group.after:,}", share, held))
    made_by, held_by = (
        title if any(row[at] for row in rows) else "" for at, title in ((1, "also made by"), (-1, "held by"))
    )
    columns = [Column("group", "name"), Column(made_by, "name"), Column("channels"), Column(""), Column("")]
    return make_table([*columns, Column("kept"), Column(held_by, "text")], rows, width=width)


def totals_table(before: Totals, after: Totals) -> str:
    """Returns a table of the model's size before and after."""
    rows = []
    for word, old, new in (
        ("channels", before.channels, after.channels),
        ("parameters", before.params, after.params),
        ("FLOPs", before.flops, after.flops),
    ):
        rows.append((word, f"{old:,}", "->", f"{new:,}", f"{100 * new / old:.2f} %" if old else ""))
    columns = [Column("", "name"), Column("before"), Column(""), Column("after"), Column("kept")]
    return make_table(columns, rows)


def unused_text(
    budget: Budget | None, scope: str, before: Totals, after: Totals, groups: Sequence[GroupPlan], width: int
) -> str:
    """Returns why a notable part of the target is not used; empty if none is."""
    if budget is None:
        return ""
    kept, whole = after.of(budget.measure), before.of(budget.measure)
    if kept >= (1 - _MOST_UNUSED) * budget.fraction * whole:
        return ""
    unused = f"{100 * (budget.fraction - kept / whole):.2f} % of the {MEASURES[budget.measure]} stay unused"
    local = "as all groups lose the same fraction, " if scope == "local" else ""
    why = f"{local}undoing one more removal exceeds the target"
    if all(group.after == group.before for group in groups):
        why = "the residual blocks that are dropped are enough"
    return paragraph(f"{unused}: {why}", width=width, hanging=2)


def effective_limits(groups: Sequence[GroupPlan], constraints: WidthConstraints, width: int) -> str:
    """Returns a table of the limits that kept more than the scores did; empty if there are no such limits."""
    rows = []
    for name in ("min_channels", "max_sparsity", "round_to"):
        extra = [hold.channels for group in groups for hold in group.bound if hold.reason == name]
        if extra:
            kept = f"{count(sum(extra), 'channel')} more than by score, in {count(len(extra), 'group')}"
            rows.append((constraints.text(name), kept))
    table = make_table([Column("", "name"), Column("", "text")], rows, width=width)
    return f"Limits that kept more channels than the scores:\n{table}" if rows else ""


def left_alone(
    groups: Sequence[GroupPlan],
    criterion: str,
    ignore: Sequence[str],
    keep_width: Sequence[str],
    pinned: Sequence[str],
    width: int,
) -> str:
    """Returns lines on what is not pruned, and why; empty if everything can be pruned."""
    reasons = {
        **_HOLDING,
        UNSCORED: f"{criterion} gives no score",
        NEEDED: "otherwise a layer would run empty",
    }
    lines = []
    for group in groups:
        for hold in group.protected:
            asked = _naming({IGNORED: ignore, WIDTH_KEPT: keep_width}.get(hold.reason, ()), group)
            named = f" ({', '.join(asked)})" if asked else ""
            amount = "all" if hold.channels == group.before else f"{hold.channels:,} of"
            lines.append(f"{group.name}: {amount} {count(group.before, 'channel')} stay: {reasons[hold.reason]}{named}")
    shown = (paragraph(line, width=width, indent=2, hanging=2) for line in [*lines, *pinned])
    return "\n".join(["Left alone:", *shown]) if lines or pinned else ""


def _naming(names: Sequence[str], group: GroupPlan) -> list[str]:
    """Returns those of the names and patterns that stand for layers that make a group; a single one in any case."""
    return [each for each in names if len(names) == 1 or any(is_meant(layer, each) for layer in group.layers)]


def opened_text(sizes: Sequence[Sequence[int]], expanded: Sequence[str], width: int) -> str:
    """Returns lines on layers that were opened; empty if there is nothing to say.

    Args:
        sizes: The shapes of the inputs for which FLOPs are counted, if they are not the model's own.
        expanded: Names of layers that functional models take the place of.
        width: Characters per line.
    """
    lines = []
    if sizes:
        shapes = listed(list(dict.fromkeys(str(tuple(shape[1:])) for shape in sizes)), 3)
        lines.append(
            f"FLOPs are counted for inputs of shape {shapes}: the model leaves sizes open, its layers need them"
        )
    if expanded:
        lines.append(f"Functional models of the same layers take the place of {listed(expanded, 6)}")
    return "\n".join(paragraph(line, width=width, hanging=2) for line in lines)


def _short(number: int) -> str:
    for unit, name in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)
