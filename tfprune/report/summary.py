"""What a model costs, layer by layer, before and after pruning."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import keras
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.text import Text

from tfprune.errors import ConfigError
from tfprune.graph import ChannelGroups
from tfprune.report.latency import compare_latency
from tfprune.report.layer_latency import compare_layer_latency
from tfprune.report.model_report import ModelReport, model_report
from tfprune.report.sized_model import sized_model
from tfprune.report.summary_table import ARROW, summary_table

_WIDE = 240  # columns where no terminal limits them
_DISPENSABLE = ("kind", "traffic", "params")  # columns to leave out where there is no room, first one first


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
