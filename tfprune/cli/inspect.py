"""What `tfprune inspect` does."""

from functools import partial
from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from rich.text import Text

from tfprune.cli.model_configs import InspectConfig
from tfprune.cli.model_files import file_size
from tfprune.cli.record import record_lines
from tfprune.console import working
from tfprune.criteria.registry import load_plugins
from tfprune.errors import ConfigError
from tfprune.exporting import TFLiteFile, read_record
from tfprune.graph import channel_groups, convert
from tfprune.graph.calls import check_finite_weights
from tfprune.layers import subnet_layers
from tfprune.model_file import load_model
from tfprune.report import Summary, compare_latency, has_unknown_sizes, report_console, summarize
from tfprune.tables import Column, count, make_table


def run(config: InspectConfig, console: Console | None = None) -> Summary | TFLiteFile:
    """Prints the channel groups of a model, what is left alone and why, and the table of its layers.

    Of a TFLite file it prints the inputs, outputs and operations. Before them comes what the file records of its run.

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
    load_plugins(config.plugin)
    if Path(config.model).suffix == ".tflite":
        return _inspect_tflite(config, console)
    with working(f"reading {config.model}"):
        model = _read(config.model, console)
        small = _read(config.small, console) if config.small is not None else None
        selected = _selected(model)
        model = convert(model, "plain") if selected else model
        groups = channel_groups(model, ignore=config.ignore)
    if config.latency and config.input_shape is None and has_unknown_sizes(model):
        raise ConfigError(
            f"{config.model} takes inputs of any size: give --input_shape, such as 224 224 3, or --no_latency"
        )
    _print_record(config.model, console)
    if selected:
        console.print(Text(f"{selected}; shown with built-in layers\n"))
    console.print(Text(f"{model.name}: {groups.table(width=console.width)}\n"))
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


def _read(path: str, console: Console) -> keras.Model:
    """Returns a model, also one with NaN or infinite weights, which is said."""
    model = load_model(path)
    try:
        check_finite_weights(model)
    except ConfigError as error:
        console.print(Text(f"{path}: {error}\n"))
    return model


def _selected(model: keras.Model) -> str:
    """Returns how many weights a sub-network selects, in words; empty for other models."""
    layers = subnet_layers(model)
    if not layers or any(layer.selection == "sampled" for layer in layers):
        return ""
    masks = [np.asarray(layer.mask) for layer in layers]
    kept, total = sum(int(mask.sum()) for mask in masks), sum(mask.size for mask in masks)
    return f"sub-network of {kept:,} of {total:,} weights ({kept / total:.2%})"


def _print_record(path: str, console: Console) -> None:
    """Prints what a model file says about the run that wrote it."""
    for line in record_lines(read_record(path)):
        console.print(Text(line))


def _inspect_tflite(config: InspectConfig, console: Console) -> TFLiteFile:
    """Prints what is in a TFLite file."""
    with working(f"reading {config.model}"):
        file = TFLiteFile(config.model)
    console.print(Text(config.model, style="bold"))
    counts = f"{count(file.weights, 'weight')}, {count(file.tensors, 'tensor')}"
    console.print(Text(f"{file_size(config.model)}, {counts}"))
    _print_record(config.model, console)
    for kind, infos in (("input", file.inputs), ("output", file.outputs)):
        for each in infos:
            shape = ", ".join("any" if size is None else str(size) for size in each.shape)
            console.print(Text(f"{kind} {each.name}: {each.dtype} [{shape}]"))
    columns = [Column("operation", "name"), Column("times")]
    rows = [(name, f"{times:,}") for name, times in file.operations.items()]
    console.print(Text(make_table(columns, rows, width=console.width, indent=0)))
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
