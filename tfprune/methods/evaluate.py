"""How good, how large and how fast a model is."""

import json
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.table import Table

from tfprune.data import ImageData, fixed_batches, load_data
from tfprune.errors import RunFolderError
from tfprune.graph import complexity
from tfprune.methods.evaluate_config import EvaluateConfig
from tfprune.models import load_checkpoint
from tfprune.models.checkpoint import model_file
from tfprune.models.file_notes import read_notes
from tfprune.report import measure_latency
from tfprune.training import evaluate, make_strategy

Numbers = dict[str, Any]

_ARCH, _DATASET = "ResNet-56", "CIFAR10"


def run(config: EvaluateConfig) -> Numbers:
    """Evaluates a model, prints a table, and writes a JSON file if asked to.

    Args:
        config: The settings.

    Returns:
        `top1` and `top5` (fractions), `loss`, `examples`, `params`, `flops`, `uncounted` (layers whose FLOPs are not
        known), and, if it was measured, `latency_ms` (median), `latency_min_ms` and `device`.

    Raises:
        TfpruneError: Something the user can mend.
    """
    notes = read_notes(model_file(config.trained_param))
    data = load_data(config.dataset or str(notes.get("dataset", _DATASET)), config.data_path)
    # A file with notes was made here, and may be any network.
    arch = config.arch if config.arch or notes else _ARCH
    with make_strategy(config.gpu_id).scope():
        model = load_checkpoint(
            config.trained_param, arch=arch, num_classes=data.num_classes, input_shape=data.input_shape
        )
        numbers = _measured(config, model, data)
    _print(config, numbers)
    if config.json is not None:
        _write(Path(config.json), numbers)
    return numbers


def _measured(config: EvaluateConfig, model: keras.Model, data: ImageData) -> Numbers:
    batches = fixed_batches(data.test_images, data.test_labels, data, config.val_batch_size)
    tested = evaluate(model, batches, batch_statistics=config.batch_statistics, compile=config.compile)
    cost = complexity(model)
    numbers: Numbers = {
        "top1": tested.top1,
        "top5": tested.top5,
        "loss": tested.loss,
        "examples": tested.examples,
        "params": cost.params,
        "flops": cost.flops,
        "uncounted": list(cost.uncounted),
    }
    if config.latency and not config.evaluate:
        latency = measure_latency(model)
        numbers |= {"latency_ms": latency.median_ms, "latency_min_ms": latency.minimum_ms, "device": latency.device}
    return numbers


def _print(config: EvaluateConfig, numbers: Numbers) -> None:
    statistics = f"statistics of batches of {config.val_batch_size}" if config.batch_statistics else "moving averages"
    table = Table(title=f"{Path(config.trained_param).name}, {numbers['examples']} test images, {statistics}")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("top-1 accuracy", f"{numbers['top1']:.2%}")
    table.add_row("top-5 accuracy", f"{numbers['top5']:.2%}")
    table.add_row("loss", f"{numbers['loss']:.4f}")
    table.add_row("parameters", f"{numbers['params']:,}")
    table.add_row("FLOPs (multiply-adds)", f"{numbers['flops']:,}")
    if numbers["uncounted"]:
        table.add_row("layers without a FLOP count", ", ".join(numbers["uncounted"]))
    if "latency_ms" in numbers:
        latency = f"{numbers['latency_ms']:.2f} ms (minimum {numbers['latency_min_ms']:.2f}) on {numbers['device']}"
        table.add_row("latency, 1 image", latency)
    Console().print(table)


def _write(path: Path, numbers: Numbers) -> None:
    try:
        path.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"cannot write {path}: {error.strerror}; give another --json") from None
