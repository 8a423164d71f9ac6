"""What a model costs, layer by layer, before and after pruning."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tfprune.errors import ConfigError
from tfprune.graph import ChannelGroups
from tfprune.report.latency import compare_latency
from tfprune.report.layer_latency import compare_layer_latency
from tfprune.report.model_report import LayerReport, ModelReport, model_report, sized_model

_WIDE = 240  # columns where no terminal limits them
_DISPENSABLE = ("kind", "traffic", "params")  # columns to leave out where there is no room, first one first
ABSENT = "-"
ARROW = " -> "
Values = tuple[Any, ...]
_FIELDS = ("channels", "params", "flops", "traffic", "latency_ms")
_PREFIXES = ((1, ""), (10**3, "k"), (10**6, "M"), (10**9, "G"))
_LARGEST = 10**5  # five digits before the point can still be read


@dataclass(frozen=True)
class Summary:
    """The numbers of a model, and of a smaller one if there is one; `rich` prints it as a table.

    Attributes:
        model: The model's.
        small: The smaller model's.
    """

    model: ModelReport
    small: ModelReport | None = None

    @property
    def reports(self) -> tuple[ModelReport, ...]:
        """The reports there are."""
        return (self.model,) if self.small is None else (self.model, self.small)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[object]:
        for count in range(len(_DISPENSABLE) + 1):
            without = _DISPENSABLE[:count]
            table = summary_table(self.reports, without=without)
            if Measurement.get(console, options.update(width=_WIDE), table).maximum <= options.max_width:
                break
        yield Text(ARROW.join(each.name for each in self.reports), style="bold")
        yield table
        if without:
            yield Text(f"a wider window shows {' and '.join(without)}, too", style="dim")
        for note in _notes(self, without):
            yield Text(note, style="dim")


def summary(
    model: keras.Model,
    small: keras.Model | None = None,
    *,
    latency: bool = True,
    batch_size: int = 1,
    input_shape: Sequence[int] | None = None,
    console: Console | None = None,
) -> Summary:
    """Prints a table of the layers of a model: channels, parameters, FLOPs, memory traffic, latency.

    Args:
        model: A functional or sequential model.
        small: The same after pruning; the table shows both.
        latency: Measure how long each layer and the whole model take.
        batch_size: Examples per call when the latency is measured.
        input_shape: Shape of one example, for models that take inputs of any size.
        console: Where to print. Default: standard output.

    Returns:
        The numbers.

    Raises:
        ConfigError: The latency cannot be measured, as sizes are unknown; `input_shape` does not fit.
        UnsupportedLayerError: The model has no graph.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, padding="same")])
        >>> numbers = summary(model, latency=False)  # prints the table
        >>> numbers.model.flops
        6912
    """
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
    """As `summary`, without printing.

    Args:
        model: See `summary`, as for all others.
        small: The same after pruning.
        groups: The channel groups of `model`, if they are known.
        latency: Measure it.
        batch_size: Examples per call.
        input_shape: Shape of one example.

    Returns:
        The numbers.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size: expected a value above 0, received {batch_size}")
    models = {"model": model} if small is None else {"model": model, "small": small}
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


def report_console() -> Console:
    """Standard output, wide where it is no terminal: lines in a file need not be cut."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)


def _notes(numbers: Summary, without: Collection[str]) -> Iterator[str]:
    first = numbers.model
    yield "FLOPs: multiply-accumulates of kernels, and two per value of batch norm, for one example"
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
        if report.uncounted:
            yield f"FLOPs not known, counted as 0, in {report.name}: {', '.join(report.uncounted)}"


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


@dataclass(frozen=True)
class Unit:
    """A power of a thousand to count in.

    Attributes:
        size: What one of it is.
        prefix: Its letter, none for one.
    """

    size: int
    prefix: str

    @classmethod
    def of(cls, values: Iterable[int | None]) -> "Unit":
        """The finest unit in which the largest of some values can still be read."""
        largest = max((value for value in values if value is not None), default=0)
        size, prefix = next((each for each in _PREFIXES if largest < _LARGEST * each[0]), _PREFIXES[-1])
        return cls(size, prefix)

    def show(self, value: int | None) -> str:
        """A value in this unit: `1,234.5`; `0` for none at all, `< 0.1` for very little, `?` for unknown."""
        if value is None:
            return "?"
        if self.size == 1 or value == 0:
            return f"{value:,}"
        shown = f"{value / self.size:,.1f}"
        return "< 0.1" if shown == "0.0" else shown
