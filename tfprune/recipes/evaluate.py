"""How good, how large and how fast a model is."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from tfprune.errors import ConfigError, RunFolderError
from tfprune.graph import complexity, convert
from tfprune.layers import subnet_layers
from tfprune.recipes.data import ImageData, ImageDataset
from tfprune.recipes.evaluate_config import EvaluateConfig
from tfprune.recipes.evaluation_data import evaluation_data
from tfprune.recipes.models import application_names, load_application, load_checkpoint
from tfprune.recipes.models.checkpoint import model_file, read_notes, stored_shape
from tfprune.recipes.training import evaluate, make_strategy
from tfprune.recipes.training.objectives import Batch
from tfprune.report import measure_latency

Numbers = dict[str, Any]
_ARCH, _DATASET, _IMAGE_SIZE = "ResNet-56", "CIFAR10", 224


def run(config: EvaluateConfig) -> Numbers:
    """Evaluates a model, prints a table, and writes a JSON file if asked to.

    Args:
        config: The settings.

    Returns:
        `top1` and `top5` (fractions), `loss`, `examples`, `params`, `flops`, `uncounted` (layers whose FLOPs are not
        known); of sub-networks `kept` weights and their share `density`; and, if it was measured, `latency_ms`
        (median), `latency_min_ms` and `device`.

    Raises:
        TfpruneError: Something the user can mend.
    """
    with make_strategy(config.gpu_id).scope():
        if config.trained_param.casefold() in application_names() and not Path(config.trained_param).exists():
            model, data, batches = _application(config)
        else:
            model, data, batches = _from_file(config)
        numbers = _measured(config, model, batches)
    _print(config, numbers)
    for note in data.notes():
        print(note)
    if config.json is not None:
        _write(Path(config.json), numbers)
    return numbers


def _from_file(config: EvaluateConfig) -> tuple[keras.Model, ImageDataset, Iterable[Batch]]:
    file = model_file(config.trained_param)
    notes = read_notes(file)
    height, *_ = stored_shape(file) or (_IMAGE_SIZE,)
    data = evaluation_data(
        config.dataset or str(notes.get("dataset", _DATASET)),
        config.data_path,
        image_size=config.image_size or height,
        resize_size=config.resize_size,
    )
    # A file with notes was made here, and may be any network; so may one for data that are no usual set.
    arch = config.arch if config.arch or notes or not isinstance(data, ImageData) else _ARCH
    model = load_checkpoint(config.trained_param, arch=arch, num_classes=data.num_classes, input_shape=data.input_shape)
    return model, data, data.test_batches(config.val_batch_size)


def _application(config: EvaluateConfig) -> tuple[keras.Model, ImageDataset, Iterable[Batch]]:
    """A network of `keras.applications`, and images prepared for it."""
    if config.arch is not None:
        raise ConfigError(f"--arch: expected none with the network {config.trained_param}, received {config.arch}")
    application = load_application(config.trained_param)
    model = application.model
    data = evaluation_data(
        config.dataset or "imagenet",
        config.data_path,
        image_size=config.image_size or model.input_shape[1],
        resize_size=config.resize_size,
        mean=(0.0, 0.0, 0.0),
        std=(1 / 255, 1 / 255, 1 / 255),
    )
    if isinstance(data, ImageData) or data.num_classes != model.output_shape[-1]:
        raise ConfigError(
            f"{config.trained_param} tells the {model.output_shape[-1]} classes of ImageNet apart, {data.name} has "
            f"{data.num_classes} others; use --dataset imagenet and its images"
        )
    batches = data.test_batches(config.val_batch_size)
    return model, data, (batch | {"images": application.prepare(batch["images"])} for batch in batches)


def _measured(config: EvaluateConfig, model: keras.Model, batches: Iterable[Batch]) -> Numbers:
    tested = evaluate(model, batches, batch_statistics=config.batch_statistics, compile=config.compile)
    masks = [np.asarray(layer.mask) for layer in subnet_layers(model) if layer.selection != "sampled"]
    cost = complexity(convert(model, "plain") if masks else model)
    numbers: Numbers = {
        "top1": tested.top1,
        "top5": tested.top5,
        "loss": tested.loss,
        "examples": tested.examples,
        "params": cost.params,
        "flops": cost.flops,
        "uncounted": list(cost.uncounted),
    }
    if masks:
        numbers["kept"] = sum(int(np.count_nonzero(mask)) for mask in masks)
        numbers["density"] = numbers["kept"] / sum(mask.size for mask in masks)
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
    if "kept" in numbers:
        table.add_row("weights kept", f"{numbers['kept']:,} ({numbers['density']:.2%})")
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
