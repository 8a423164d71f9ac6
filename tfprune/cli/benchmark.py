"""What `tfprune benchmark` does."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import keras
from rich.console import Console
from rich.text import Text

from tfprune.cli.model_configs import BenchmarkConfig
from tfprune.console import working
from tfprune.criteria.registry import load_plugins
from tfprune.errors import ConfigError
from tfprune.exporting import TFLiteFile
from tfprune.files import write_text
from tfprune.graph import Complexity, complexity
from tfprune.model_file import load_model
from tfprune.report import Latency, compare_latency, report_console, sized_model
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
    load_plugins(config.plugin)
    models = {path: _model(path, config.input_shape) for path in config.models}
    runnable = _runnable(models, config.batch_size)
    latencies = {size: _latency(able, size, config) for size, able in runnable.items()}
    costs = {path: complexity(model) if isinstance(model, keras.Model) else None for path, model in models.items()}
    first = next(each for times in latencies.values() for each in times.values())
    console.print(Text(_table(costs, latencies, console.width) + "\n"))
    note = f"ms: median and [minimum] of {count(config.runs, 'call')} each, in turn, on {first.device}"
    console.print(Text(paragraph(note, width=console.width), style="dim"))
    for line in _left_out(models, config.batch_size):
        console.print(Text(paragraph(line, width=console.width), style="dim"))
    numbers = {"device": first.device, "models": _numbers(costs, latencies)}
    if config.json is not None:
        write_text(Path(config.json), json.dumps(numbers, indent=1) + "\n")
        console.print(Text(f"wrote {config.json}"))
    return numbers


@dataclass(frozen=True)
class _TFLiteCalls:
    """The calls of a TFLite file by the batch size."""

    file: TFLiteFile
    input_shape: Sequence[int] | None

    def __call__(self, batch_size: int) -> Callable[[], object]:
        return self.file.caller(batch_size, self.input_shape)


Model: TypeAlias = "keras.Model | _TFLiteCalls"


def _fixed_batch(model: Model) -> int | None:
    """Returns the only batch size that a model can be run with; None if it takes any."""
    if isinstance(model, _TFLiteCalls):
        return model.file.inputs[0].shape[0]
    return model.inputs[0].shape[0] if model.inputs else None


def _runnable(models: Mapping[str, Model], sizes: Sequence[int]) -> dict[int, dict[str, Model]]:
    """Returns the models that can be run with each batch size, without the sizes that none can be run with.

    Raises:
        ConfigError: A model cannot be run with any of the sizes.
    """
    for path, model in models.items():
        fixed = _fixed_batch(model)
        if fixed not in (None, *sizes):
            raise ConfigError(
                f"{path} takes batches of {fixed}, not of {' or '.join(map(str, sizes))}; give --batch_size {fixed}, "
                "or make the file for another batch size"
            )
    able = {
        size: {path: model for path, model in models.items() if _fixed_batch(model) in (None, size)} for size in sizes
    }
    return {size: there for size, there in able.items() if there}


def _left_out(models: Mapping[str, Model], sizes: Sequence[int]) -> Iterator[str]:
    """Yields a line for each model that was not run with some of the batch sizes."""
    for path, model in models.items():
        fixed = _fixed_batch(model)
        if others := [str(size) for size in sizes if fixed not in (None, size)]:
            yield f"{path} takes batches of {fixed}; left out: {', '.join(others)}"


def _model(path: str, input_shape: Sequence[int] | None) -> Model:
    """Returns a Keras model, or the calls of a TFLite file."""
    with working(f"reading {path}"):
        if Path(path).suffix == ".tflite":
            return _TFLiteCalls(TFLiteFile(path), input_shape)
        model = load_model(path)
        return model if input_shape is None else sized_model(model, input_shape)


def _latency(models: Mapping[str, Model], size: int, config: BenchmarkConfig) -> dict[str, Latency]:
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
            if (own := times.get(path)) is None:
                continue
            speed = f"x {times[base].median_ms / own.median_ms:.2f}" if len(costs) > 1 and base in times else ""
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
                if path in times
            },
        }
        for path, cost in costs.items()
    }
