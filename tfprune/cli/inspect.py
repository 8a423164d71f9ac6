"""What `tfprune inspect` does."""

from functools import partial
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tfprune.cli.model_configs import InspectConfig
from tfprune.cli.model_files import file_size, load_model_file
from tfprune.console import working
from tfprune.errors import ConfigError
from tfprune.exporting import TFLiteFile
from tfprune.graph import ChannelGroups, channel_groups
from tfprune.report import Summary, compare_latency, has_unknown_sizes, report_console, summarize


def run(config: InspectConfig, console: Console | None = None) -> Summary | TFLiteFile:
    """Prints the channel groups of a model, what is left alone and why, and the table of its layers.

    Of a TFLite file it prints the inputs, outputs and operations.

    Args:
        config: The settings.
        console: Where to print. Default: standard output.

    Returns:
        The numbers of the layers, or the TFLite file.

    Raises:
        TfpruneError: Something that the user can fix.
    """
    console = console or report_console()
    config.check_files()
    if Path(config.model).suffix == ".tflite":
        return _inspect_tflite(config, console)
    with working(f"reading {config.model}"):
        model = load_model_file(config.model)
        small = load_model_file(config.small) if config.small is not None else None
        groups = channel_groups(model, ignore=config.ignore)
    if config.latency and config.input_shape is None and has_unknown_sizes(model):
        raise ConfigError(
            f"{config.model} takes inputs of any size: give --input_shape, such as 224 224 3, or --no_latency"
        )
    _print_groups(groups, model.name, console)
    numbers = summarize(
        model,
        small,
        groups=groups,
        latency=config.latency,
        batch_size=config.batch_size,
        input_shape=config.input_shape,
    )
    console.print(numbers)
    return numbers


def _inspect_tflite(config: InspectConfig, console: Console) -> TFLiteFile:
    """Prints what is in a TFLite file."""
    with working(f"reading {config.model}"):
        file = TFLiteFile(config.model)
    console.print(Text(config.model, style="bold"))
    console.print(
        Text(f"{file_size(config.model)}, {_count(file.weights, 'weight')}, {_count(file.tensors, 'tensor')}")
    )
    for kind, infos in (("input", file.inputs), ("output", file.outputs)):
        for each in infos:
            shape = ", ".join("any" if size is None else str(size) for size in each.shape)
            console.print(Text(f"{kind} {each.name}: {each.dtype} [{shape}]"))
    table = Table(box=SIMPLE_HEAD)
    table.add_column("operation", overflow="fold")
    table.add_column("times", justify="right", no_wrap=True)
    for name, times in file.operations.items():
        table.add_row(name, f"{times:,}")
    console.print(table)
    if config.latency:
        calls = partial(file.caller, input_shape=config.input_shape)
        size = file.inputs[0].shape[0] or config.batch_size
        latency = compare_latency({config.model: calls}, batch_size=size)[config.model]
        console.print(
            Text(
                f"{latency.median_ms:,.3g} ms for a batch of {latency.batch_size}, median; the fastest "
                f"{latency.minimum_ms:,.3g} ms; on {latency.device}"
            )
        )
    return file


def _print_groups(groups: ChannelGroups, name: str, console: Console) -> None:
    title = f"{name}: {_count(groups.channels, 'prunable channel')} in {_count(len(groups), 'group')}"
    console.print(Text(title, style="bold"))
    if groups:
        console.print(_group_table(groups))
    if groups.pinned:
        console.print(Text("left alone, with the channels that they touch:"))
        for each in groups.pinned:
            console.print(Padding(Text(each), (0, 0, 0, 2)))
    console.print()


def _group_table(groups: ChannelGroups) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("group", overflow="fold")
    table.add_column("channels", justify="right", no_wrap=True)
    table.add_column("made by", overflow="fold")
    for group in groups:
        width = f"{group.size:,} x {group.multiplicity}" if group.multiplicity > 1 else f"{group.size:,}"
        table.add_row(group.name, width, ", ".join(group.layers))
    return table


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
