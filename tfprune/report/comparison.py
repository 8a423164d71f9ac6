"""The table of a model before and after pruning."""

from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table

Rows = Mapping[str, Mapping[str, float]]

_COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "accuracy": ("accuracy", lambda value: f"{value:.2%}"),
    "flops": ("FLOPs (multiply-adds)", lambda value: f"{value / 1e6:,.2f} M"),
    "params": ("parameters", lambda value: f"{value:,.0f}"),
    "file_bytes": ("file size", lambda value: f"{value / 1e6:,.2f} MB"),
    "latency_ms": ("latency, 1 image", lambda value: f"{value:.2f} ms"),
}


def comparison_table(rows: Rows, console: Console | None = None) -> None:
    """Prints accuracy, FLOPs, parameters, file size and measured latency of two models, and their ratio.

    Args:
        rows: `before` and `after`, each with `accuracy` (a fraction), `flops`, `params`, `file_bytes`, `latency_ms`.
        console: Where to print. Default: standard output.
    """
    table = Table(title=None)
    table.add_column("")
    for name in (*rows, "change"):
        table.add_column(name, justify="right")
    before, after = rows.values()
    for key, (title, show) in _COLUMNS.items():
        table.add_row(title, show(before[key]), show(after[key]), _change(key, before[key], after[key]))
    (console or Console()).print(table)


def _change(key: str, before: float, after: float) -> str:
    if key == "accuracy":
        return f"{100 * (after - before):+.2f} points"
    if round(before / after, 2) == 1:
        return "same"
    return f"{before / after:.2f} times less" if after < before else f"{after / before:.2f} times more"
