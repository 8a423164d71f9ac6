"""The summary of a model: a table of its layers with channels, parameters, FLOPs, memory traffic and latency.

FLOPs count multiply-adds. With a second model, each cell shows both numbers, such as `64 -> 40`, and a last line the
fraction that is kept. Layers with weights have a line each, others are summed by kind; columns that do not fit into the
window are left out.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from rich.console import Console, ConsoleOptions
from rich.text import Text

from tfprune.arguments import truth, whole_number
from tfprune.console import report_console
from tfprune.errors import ConfigError
from tfprune.graph import ChannelGroups, functional_model
from tfprune.report.latency import compare_latency
from tfprune.report.layer_latency import compare_layer_latency
from tfprune.report.model_report import LayerReport, ModelReport, model_report, sized_model
from tfprune.reprs import described
from tfprune.tables import WIDTH, Column, make_table, paragraph

ABSENT = "-"
ARROW = " -> "
_NAME = 28  # characters of a layer's name that are shown before a column is left out
_UNLIMITED = 10**6
_DISPENSABLE = ("kind", "traffic", "params")  # columns to leave out if there is no room, in this order
_FIELDS = ("channels", "params", "flops", "traffic", "latency_ms")
_PREFIXES = ((1, ""), (10**3, "k"), (10**6, "M"), (10**9, "G"))
_LARGEST = 10**5  # numbers of more digits before the point get a larger prefix

Values = tuple[Any, ...]
"""The number of each model; `...` in a model that lacks the layer."""


@dataclass(frozen=True)
class Summary:
    """The numbers of a model, and of a smaller one if there is one; printed, it is a table.

    Attributes:
        model: Numbers of the model.
        small: Numbers of the smaller model.
    """

    model: ModelReport
    small: ModelReport | None = None

    @property
    def reports(self) -> tuple[ModelReport, ...]:
        """The reports of the one or two models."""
        return (self.model,) if self.small is None else (self.model, self.small)

    def __str__(self) -> str:
        return "\n".join(self._parts(WIDTH))

    def __repr__(self) -> str:
        cost = " -> ".join(
            f"{each.params:,} parameters, {'?' if each.flops is None else f'{each.flops:,}'} FLOPs"
            for each in self.reports
        )
        return f"Summary({self._title}: {len(self.model.layers)} layers, {cost})"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[object]:
        title, table, *notes = self._parts(options.max_width)
        yield Text(title, style="bold")
        yield Text(table)
        yield from (Text(note, style="dim") for note in notes)

    @property
    def _title(self) -> str:
        return ARROW.join(dict.fromkeys(each.name for each in self.reports))

    def _parts(self, width: int) -> list[str]:
        """Returns the title, the table without the columns that have no room, and the lines below it."""
        longest = max(len(layer.layer) for report in self.reports for layer in report.layers)
        spare = max(0, longest - _NAME)
        for count in range(len(_DISPENSABLE) + 1):
            without = _DISPENSABLE[:count]
            whole = summary_table(self.reports, without=without, width=_UNLIMITED)
            if max(map(len, whole.splitlines())) - spare <= width:
                break
        table = summary_table(self.reports, without=without, width=width)
        notes = [f"a wider window shows more: {', '.join(without)}"] if without else []
        notes += _notes(self, without)
        return [self._title, f"{table}\n", *(paragraph(note, width=width) for note in notes)]


def summary(
    model: keras.Model,
    small: keras.Model | None = None,
    *,
    latency: bool = True,
    batch_size: int = 1,
    input_shape: Sequence[int] | None = None,
    console: Console | None = None,
) -> Summary:
    """Prints a table of the layers of a model: channels, parameters, FLOPs (multiply-adds), memory traffic, latency.

    Args:
        model: A functional or sequential model.
        small: The same model after pruning; the table shows both.
        latency: Whether to measure how long each layer and the whole model take.
        batch_size: Examples per call when the latency is measured.
        input_shape: Shape of one example, for models that take inputs of any size.
        console: Where to print. Default: standard output.

    Returns:
        The numbers.

    Raises:
        ConfigError: The latency cannot be measured, as sizes are unknown; or `input_shape` does not fit.
        UnsupportedLayerError: The model has no graph.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, padding="same")])
        >>> numbers = summary(model, latency=False, console=Console(quiet=True))  # prints the table without `console`
        >>> numbers.model.flops
        6912
    """
    if not isinstance(console, Console | None):
        raise ConfigError(f"console: expected a console of rich, received {described(console)}")
    result = summarize(model, small, latency=latency, batch_size=batch_size, input_shape=input_shape)
    (console or report_console()).print(result)
    return result


def summarize(
    model: keras.Model,
    small: keras.Model | None = None,
    *,
    groups: ChannelGroups | None = None,
    latency: bool = True,
    batch_size: int = 1,
    input_shape: Sequence[int] | None = None,
) -> Summary:
    """Returns the numbers that `summary` prints.

    Args:
        model: A functional, sequential or subclassed model.
        small: The same model after pruning.
        groups: The channel groups of `model`, if they are known.
        latency: Whether to measure the latency.
        batch_size: Examples per call.
        input_shape: Shape of one example, for models that take inputs of any size.

    Returns:
        The numbers.

    Raises:
        ConfigError: See `summary`.
        UnsupportedLayerError: The model has no graph.
    """
    batch_size, latency = whole_number("batch_size", batch_size), truth("latency", latency)
    model = functional_model(model)
    models = {"model": model} if small is None else {"model": model, "small": functional_model(small)}
    if input_shape is not None:
        models = {name: sized_model(each, input_shape) for name, each in models.items()}
        groups = groups if models["model"] is model else None
    if not latency:
        return Summary(*(model_report(each, groups if each is model else None) for each in models.values()))
    layers = compare_layer_latency(models, batch_size=batch_size)
    whole = compare_latency(models, batch_size=batch_size, runs=30, warm_up=5, description="timing the whole")
    reports = [
        model_report(each, groups if each is model else None, latency=whole[name], layer_latency=layers[name])
        for name, each in models.items()
    ]
    return Summary(*reports)


def _notes(numbers: Summary, without: Collection[str]) -> Iterator[str]:
    """Yields the lines below the table."""
    first = numbers.model
    yield "FLOPs: multiply-adds of kernels, and two per value of batch norm, for one example"
    if "traffic" not in without:
        yield "traffic: bytes of inputs, weights and outputs of every layer at float32, for one example"
    if first.flops is None:
        yield "?: the model takes inputs of any size; give the input_shape of one example, such as 224 224 3"
    if first.latency is not None:
        examples = "example" if first.latency.batch_size == 1 else "examples"
        yield (
            f"latency: median for {first.latency.batch_size} {examples} on {first.latency.device}; layers are timed "
            "alone; they need not add up to the whole"
        )
    for report in numbers.reports:
        if report.masks:
            yield f"parameters of {report.name}: {report.masks:,} of them are the values of masks"
        if report.uncounted:
            yield f"FLOPs not known, counted as 0, in {report.name}: {', '.join(report.uncounted)}"


@dataclass(frozen=True)
class _Row:
    """A row of the table: a layer, all layers of a kind without weights, or the whole model."""

    name: str
    kind: str
    values: dict[str, Values]
    section: int


@dataclass(frozen=True)
class _Field:
    """A field of the reports, and how its column is shown."""

    field: str
    title: str
    show: Callable[[Any], str]


def summary_table(reports: Sequence[ModelReport], *, without: Collection[str] = (), width: int = WIDTH) -> str:
    """Lays out the layers of one model, or of a model and a smaller one.

    Layers with weights have a row each, the others are summed by kind.

    Args:
        reports: The reports of one or two models.
        without: Columns to leave out: `kind`, or fields of the reports.
        width: Characters per line.

    Returns:
        The table.
    """
    fields = [column for column in _columns(reports) if column.field not in without]
    rows = [*_rows(reports), _total(reports)]
    kinds = [] if "kind" in without else [Column("kind", "name")]
    numbers = list(zip(*(_aligned(field, rows) for field in fields), strict=True))
    lines: list[Sequence[str] | None] = []
    for row, cells, before in zip(rows, numbers, [rows[0], *rows], strict=False):
        lines += [None] if row.section != before.section else []
        lines.append([row.name, *(row.kind for _ in kinds), *cells])
    if len(reports) == 2:
        lines.append(["kept", *("" for _ in kinds), *(_ratio(rows[-1].values[field.field]) for field in fields)])
    return make_table(
        [Column("layer", "name"), *kinds, *(Column(field.title) for field in fields)], lines, width=width, indent=0
    )


def _columns(reports: Sequence[ModelReport]) -> Iterator[_Field]:
    """Yields the columns with numbers."""
    yield _Field("channels", "channels", lambda value: "" if value is None else f"{value:,}")
    for field, title, symbol in (("params", "params", ""), ("flops", "FLOPs", ""), ("traffic", "traffic", "B")):
        prefix = NumberPrefix.for_values(
            getattr(each, field) for report in reports for each in (report, *report.layers)
        )
        yield _Field(field, f"{title} {prefix.symbol}{symbol}".rstrip(), prefix.show)
    if reports[0].latency is not None:
        yield _Field("latency_ms", "latency ms", "{:,.3f}".format)


def _rows(reports: Sequence[ModelReport]) -> Iterator[_Row]:
    """Yields the rows of layers, then those of kinds."""
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


def _values(layers: Sequence[LayerReport | None], field: str) -> Values:
    return tuple(... if layer is None else getattr(layer, field) for layer in layers)


def _summed(kind: str, names: Sequence[str], layers: Sequence[Any]) -> _Row | None:
    """Returns one row for the layers of a kind without weights; None if they cost nothing."""
    there = [[each[name] for name in names if name in each] for each in layers]
    if all(layer.traffic == 0 for each in there for layer in each):
        return None
    values: dict[str, Values] = {"channels": (None,) * len(layers)}
    for field in _FIELDS[1:]:
        values[field] = tuple(_sum(getattr(layer, field) for layer in each) if each else ... for each in there)
    return _Row(kind if len(names) == 1 else f"{len(names)} x {kind}", "", values, 1)


def _sum(values: Iterator[Any]) -> Any:
    """Returns a sum; None if a value is None."""
    found = list(values)
    return None if None in found else sum(found)


def _total(reports: Sequence[ModelReport]) -> _Row:
    """Returns the row of the whole model."""
    values: dict[str, Values] = {
        field: tuple(getattr(each, field) for each in reports) for field in ("params", "flops", "traffic")
    }
    values["channels"] = (None,) * len(reports)
    values["latency_ms"] = tuple(each.latency and each.latency.median_ms for each in reports)
    return _Row("whole model", "", values, 2)


def _aligned(field: _Field, rows: Sequence[_Row]) -> list[str]:
    """Returns the cells of a column, with aligned arrows in `before -> after`."""
    shown = [[ABSENT if value is ... else field.show(value) for value in row.values[field.field]] for row in rows]
    if len(shown[0]) == 1:
        return [cell for (cell,) in shown]
    widths = [max(map(len, side)) for side in zip(*shown, strict=True)]
    return [f"{before:>{widths[0]}}{ARROW}{after:>{widths[1]}}" if before or after else "" for before, after in shown]


def _ratio(values: Values) -> str:
    """Returns the kept fraction in percent."""
    before, after = values
    return f"{after / before:.1%}" if before and after is not None else ""


@dataclass(frozen=True)
class NumberPrefix:
    """A power of a thousand in which numbers are shown.

    Attributes:
        factor: The power.
        symbol: Its letter; empty for 1.
    """

    factor: int
    symbol: str

    @classmethod
    def for_values(cls, values: Iterable[int | None]) -> "NumberPrefix":
        """Returns the smallest prefix with which the largest value has at most five digits before the point."""
        largest = max((value for value in values if value is not None), default=0)
        factor, symbol = next((each for each in _PREFIXES if largest < _LARGEST * each[0]), _PREFIXES[-1])
        return cls(factor, symbol)

    def show(self, value: int | None) -> str:
        """Returns a value with this prefix as text: `1,234.5`; `0` for 0, `< 0.1` for less than that, `?` for None."""
        if value is None:
            return "?"
        if self.factor == 1 or value == 0:
            return f"{value:,}"
        shown = f"{value / self.factor:,.1f}"
        return "< 0.1" if shown == "0.0" else shown
