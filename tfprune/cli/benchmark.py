"""What `tfprune benchmark` does."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.text import Text

from tfprune.cli.model_configs import BenchmarkConfig
from tfprune.cli.model_files import load_model_file
from tfprune.console import working
from tfprune.exporting import TFLiteFile
from tfprune.files import write_text
from tfprune.graph import Complexity, complexity
from tfprune.report import Latency, compare_latency, report_console, sized_model
from tfprune.report.latency import Calls
from tfprune.tables import Column, count, make_table, paragraph

Latencies = Mapping[int, Mapping[str, Latency]]
"""By batch size, and by file."""


def run(config: BenchmarkConfig, console: Console | None = None) -> dict[str, Any]:
    """Measures the latency of models, prints a table, and writes a JSON file if asked to.

    Args:
        config: The settings.
        console: Where to print. Default: standard output.

    Returns:
        `device` and `models`: by file, `params`, `flops` (both None for TFLite files), and `latency` by batch size,
        `median_ms` and `minimum_ms`.

    Raises:
        TfpruneError: Something that the user can fix.
    """
    console = console or report_console()
    config.check_files()
    models = {path: _model(path, config.input_shape) for path in config.models}
    latencies = {size: _latency(models, size, config) for size in config.batch_size}
    costs = {path: complexity(model) if isinstance(model, keras.Model) else None for path, model in models.items()}
    first = next(iter(latencies[config.batch_size[0]].values()))
    console.print(Text(_table(costs, latencies, console.width) + "\n"))
    note = f"ms: median and [minimum] of {count(config.runs, 'call')} each, in turn, on {first.device}"
    console.print(Text(paragraph(note, width=console.width), style="dim"))
    numbers = {"device": first.device, "models": _numbers(costs, latencies)}
    if config.json is not None:
        write_text(Path(config.json), json.dumps(numbers, indent=1) + "\n")
        console.print(Text(f"wrote {config.json}"))
    return numbers


def _model(path: str, input_shape: Sequence[int] | None) -> keras.Model | Calls:
    """Returns a Keras model, or the calls of a TFLite file."""
    with working(f"reading {path}"):
        if Path(path).suffix == ".tflite":
            return partial(TFLiteFile(path).caller, input_shape=input_shape)
        model = load_model_file(path)
        return model if input_shape is None else sized_model(model, input_shape)


def _latency(models: Mapping[str, keras.Model | Calls], size: int, config: BenchmarkConfig) -> dict[str, Latency]:
    description = f"batch size {size}"
    return compare_latency(models, batch_size=size, runs=config.runs, warm_up=config.warm_up, description=description)


def _table(costs: Mapping[str, Complexity | None], latencies: Latencies, width: int) -> str:
    """Returns a table with a line for each model and batch size."""
    columns = [Column("model", "name"), Column("params"), Column("FLOPs"), Column("batch"), Column("ms [minimum]")]
    columns += [Column("examples/s"), Column("speed" if len(costs) > 1 else "")]
    base = next(iter(costs))
    rows = []
    for path, cost in costs.items():
        cells = [path, *(("-", "-") if cost is None else (f"{cost.params:,}", f"{cost.flops:,}"))]
        for size, times in latencies.items():
            own = times[path]
            speed = f"x {times[base].median_ms / own.median_ms:.2f}" if len(costs) > 1 else ""
            milliseconds = f"{own.median_ms:,.2f} [{own.minimum_ms:,.2f}]"
            rows.append([*cells, f"{size}", milliseconds, f"{1e3 * size / own.median_ms:,.0f}", speed])
            cells = ["", "", ""]
    return make_table(columns, rows, width=width, indent=0)


def _numbers(costs: Mapping[str, Complexity | None], latencies: Latencies) -> dict[str, Any]:
    return {
        path: {
            "params": None if cost is None else cost.params,
            "flops": None if cost is None else cost.flops,
            "latency": {
                str(size): {"median_ms": times[path].median_ms, "minimum_ms": times[path].minimum_ms}
                for size, times in latencies.items()
            },
        }
        for path, cost in costs.items()
    }
