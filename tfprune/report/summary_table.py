"""The table of a model's layers, or of two models' side by side."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tfprune.report.model_report import LayerReport, ModelReport
from tfprune.report.units import Unit

ABSENT = "-"
ARROW = " -> "

Values = tuple[Any, ...]
"""A number of each model; `...` in one that lacks the layer."""


@dataclass(frozen=True)
class _Row:
    """A line of the table: a layer, all layers of a kind without weights, or the whole model."""

    name: str
    kind: str
    values: dict[str, Values]
    section: int


@dataclass(frozen=True)
class _Column:
    field: str
    title: str
    show: Callable[[Any], str]


def summary_table(reports: Sequence[ModelReport], *, without: Collection[str] = ()) -> Table:
    """Lays out the layers of one model, or of a model and a smaller one.

    Layers with weights stand one by one, the others are summed up by kind.

    Args:
        reports: One or two.
        without: Columns to leave out: `kind`, or fields of the reports.

    Returns:
        The table.
    """
    columns = [column for column in _columns(reports) if column.field not in without]
    rows = [*_rows(reports), _total(reports)]
    table = Table(box=SIMPLE_HEAD)
    table.add_column("layer", overflow="fold")
    if "kind" not in without:
        table.add_column("kind", overflow="fold")
    for column in columns:
        table.add_column(column.title, justify="right", no_wrap=True)
    cells = zip(*(_aligned(column, rows) for column in columns), strict=True)
    sections = [row.section for row in rows]
    for row, numbers, following in zip(rows, cells, [*sections[1:], sections[-1]], strict=True):
        kind = [] if "kind" in without else [row.kind]
        table.add_row(row.name, *kind, *numbers, end_section=row.section != following)
    if len(reports) == 2:
        kind = [] if "kind" in without else [""]
        table.add_row("kept", *kind, *(_ratio(rows[-1].values[column.field]) for column in columns))
    return table


def _columns(reports: Sequence[ModelReport]) -> Iterator[_Column]:
    yield _Column("channels", "channels", lambda value: "" if value is None else f"{value:,}")
    for field, title, symbol in (("params", "params", ""), ("flops", "FLOPs", ""), ("traffic", "traffic", "B")):
        unit = Unit.of(getattr(each, field) for report in reports for each in (report, *report.layers))
        yield _Column(field, f"{title} {unit.prefix}{symbol}".rstrip(), unit.show)
    if reports[0].latency is not None:
        yield _Column("latency_ms", "latency ms", "{:,.3f}".format)


def _rows(reports: Sequence[ModelReport]) -> Iterator[_Row]:
    layers = [report.by_layer for report in reports]
    kinds: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for each in layers for name in each):
        there = [each.get(name) for each in layers]
        first = next(layer for layer in there if layer is not None)
        if any(layer is not None and layer.params for layer in there):
            yield _Row(name, first.kind, {field: _values(there, field) for field in _FIELDS}, 0)
        else:
            kinds.setdefault(first.kind, []).append(name)
    for kind, names in kinds.items():
        if row := _summed(kind, names, layers):
            yield row


_FIELDS = ("channels", "params", "flops", "traffic", "latency_ms")


def _values(layers: Sequence[LayerReport | None], field: str) -> Values:
    return tuple(... if layer is None else getattr(layer, field) for layer in layers)


def _summed(kind: str, names: Sequence[str], layers: Sequence[Any]) -> _Row | None:
    """The layers of a kind without weights as one row; None if they cost nothing."""
    there = [[each[name] for name in names if name in each] for each in layers]
    if all(layer.traffic == 0 for each in there for layer in each):
        return None
    values: dict[str, Values] = {"channels": (None,) * len(layers)}
    for field in _FIELDS[1:]:
        values[field] = tuple(_sum(getattr(layer, field) for layer in each) if each else ... for each in there)
    return _Row(kind if len(names) == 1 else f"{len(names)} x {kind}", "", values, 1)


def _sum(values: Iterator[Any]) -> Any:
    found = list(values)
    return None if None in found else sum(found)


def _total(reports: Sequence[ModelReport]) -> _Row:
    values: dict[str, Values] = {
        field: tuple(getattr(each, field) for each in reports) for field in ("params", "flops", "traffic")
    }
    values["channels"] = (None,) * len(reports)
    values["latency_ms"] = tuple(each.latency and each.latency.median_ms for each in reports)
    return _Row("whole model", "", values, 2)


def _aligned(column: _Column, rows: Sequence[_Row]) -> list[Text]:
    """The cells of a column: `before -> after`, arrows below one another; faint where nothing changes."""
    shown = [[ABSENT if value is ... else column.show(value) for value in row.values[column.field]] for row in rows]
    if len(shown[0]) == 1:
        return [Text(*cell) for cell in shown]
    widths = [max(map(len, side)) for side in zip(*shown, strict=True)]
    cells = []
    for before, after in shown:
        text = f"{before:>{widths[0]}}{ARROW}{after:>{widths[1]}}" if before or after else ""
        cells.append(Text(text, style="dim" if before == after else ""))
    return cells


def _ratio(values: Values) -> str:
    before, after = values
    return f"{after / before:.1%}" if before and after is not None else ""
