"""Accuracy, size and speed of a trained or pruned model on the test images of a data set."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.text import Text

from tfprune.errors import ConfigError
from tfprune.files import write_text
from tfprune.graph import complexity, convert
from tfprune.layers import subnet_layers
from tfprune.recipes.data import ImageData, ImageDataset, data_names, load_data, open_data
from tfprune.recipes.data.dataset import Batch
from tfprune.recipes.evaluate_config import EvaluateConfig
from tfprune.recipes.models import application_names, load_application, load_checkpoint
from tfprune.recipes.models.checkpoint import check_weights_file, model_file, recorded_origin, stored_shape
from tfprune.recipes.training import evaluate, make_strategy
from tfprune.report import measure_latency, report_console
from tfprune.tables import Column, count, make_table

Numbers = dict[str, Any]
_ARCH, _DATASET, _IMAGE_SIZE = "ResNet-56", "CIFAR10", 224
_IMAGENET = ("imagenet", "imagenet2012")
_LARGEST = 1 << 16
_SHORTER_SIDE = 256 / 224  # of a test image, relative to the side of the crop from its middle


def run(config: EvaluateConfig) -> Numbers:
    """Evaluates a model, prints a table, and writes a JSON file if asked to.

    Args:
        config: The settings.

    Returns:
        `top1` and `top5` (fractions), `loss`, `examples`, `params`, `flops` (multiply-adds), `uncounted` (layers whose
        FLOPs are not known); for sub-networks `kept` weights and their fraction `density`; and, if it was measured,
        `latency_ms` (median), `latency_min_ms` and `device`.

    Raises:
        TfpruneError: Something that the user can fix.
    """
    with make_strategy(config.gpu_id).scope():
        if config.trained_param.casefold() in application_names() and not Path(config.trained_param).exists():
            model, data, batches = _application(config)
        else:
            config, model, data, batches = _from_file(config)
        numbers = _measured(config, model, batches)
    _print(config, numbers)
    for note in data.notes():
        print(note)
    if config.json is not None:
        write_text(Path(config.json), json.dumps(numbers, indent=1) + "\n")
    return numbers


def _from_file(config: EvaluateConfig) -> tuple[EvaluateConfig, keras.Model, ImageDataset, Iterable[Batch]]:
    """Returns the settings with what is known about the file, its model, the data set, and its test batches."""
    file = model_file(config.trained_param)
    check_weights_file(file)
    origin = recorded_origin(file)
    # A .keras file holds its own architecture, a .pkl only arrays.
    arch = config.arch or (None if file.suffix == ".keras" else str(origin.get("arch", _ARCH)))
    _print_assumed(file, config, origin)
    name, data_path, resize_size = config.dataset, config.data_path, config.resize_size
    if name is None:
        name = str(origin.get("dataset", _DATASET))
        data_path = data_path or _text(origin.get("data_path"))
        resize_size = resize_size or (_count(origin.get("resize_size")) if config.image_size is None else None)
    height, *_ = stored_shape(file) or (_count(origin.get("image_size")) or _IMAGE_SIZE,)
    data = _evaluation_data(name, data_path, image_size=config.image_size or height, resize_size=resize_size)
    model = load_checkpoint(file, arch=arch, num_classes=data.num_classes, input_shape=data.input_shape)
    if config.batch_statistics is None:
        batch_statistics = origin.get("batch_statistics") is True
        size = config.val_batch_size or (_count(origin.get("val_batch_size")) if batch_statistics else None)
        config = replace(config, batch_statistics=batch_statistics, val_batch_size=size)
    return config, model, data, data.test_batches(config.images_per_batch)


def _print_assumed(file: Path, config: EvaluateConfig, origin: Mapping[str, Any]) -> None:
    """Prints a line about what neither the file nor its folder nor a flag says."""
    assumed = [] if config.dataset or "dataset" in origin else [f"--dataset {_DATASET}"]
    if file.suffix != ".keras" and not (config.arch or "arch" in origin):
        assumed.append(f"--arch {_ARCH}")
    if assumed:
        print(f"{file.name} does not say what it was trained on, nor does its folder: {' '.join(assumed)} is assumed")


def _text(value: object) -> str | None:
    """Returns a text of a file's record; None for anything else."""
    return value if isinstance(value, str) else None


def _count(value: object) -> int | None:
    """Returns a number of a file's record that may be one of images or pixels; None for anything else."""
    return value if type(value) is int and 0 < value <= _LARGEST else None


def _application(config: EvaluateConfig) -> tuple[keras.Model, ImageDataset, Iterable[Batch]]:
    """Returns a model of `keras.applications`, the data set, and test batches prepared for the model."""
    if config.arch is not None:
        raise ConfigError(f"--arch: expected none with the model {config.trained_param}, received {config.arch}")
    application = load_application(config.trained_param)
    model = application.model
    data = _evaluation_data(
        config.dataset or "imagenet",
        config.data_path,
        image_size=config.image_size or model.input_shape[1],
        resize_size=config.resize_size,
        mean=(0.0, 0.0, 0.0),
        std=(1 / 255, 1 / 255, 1 / 255),
    )
    if isinstance(data, ImageData) or data.num_classes != model.output_shape[-1]:
        raise ConfigError(
            f"expected a data set with the {model.output_shape[-1]} classes of ImageNet for {config.trained_param}, "
            f"received {data.name} with {data.num_classes} others; use --dataset imagenet and its images"
        )
    batches = data.test_batches(config.images_per_batch)
    return model, data, (batch | {"images": application.prepare(batch["images"])} for batch in batches)


def _evaluation_data(
    name: str,
    data_path: str | None,
    *,
    image_size: int,
    resize_size: int | None = None,
    **normalization: Any,
) -> ImageDataset:
    """Opens the data set that `--dataset` names; sizes, `mean` and `std` are for images on disk."""
    if name.casefold() in (known.casefold() for known in data_names()):
        return load_data(name, data_path)
    imagenet = name.casefold() in _IMAGENET
    if not imagenet and not (data_path is not None and (Path(data_path) / name).is_dir()):
        raise ConfigError(
            f"--dataset: expected one of {', '.join(data_names())}, imagenet, or a data set that TFDS has prepared in "
            f"--data_path; received {name!r}"
        )
    if data_path is None:
        raise ConfigError(
            f"--dataset {name} needs --data_path: a folder with images train/CLASS/*.JPEG and val/CLASS/*.JPEG, or the "
            "data_dir of TFDS"
        )
    side = round(image_size * _SHORTER_SIDE) if resize_size is None else resize_size
    return open_data(
        data_path, _IMAGENET[1] if imagenet else name, image_size=image_size, resize_size=side, **normalization
    )


def _measured(config: EvaluateConfig, model: keras.Model, batches: Iterable[Batch]) -> Numbers:
    """Returns accuracy, size and, unless the settings leave it out, latency of a model."""
    tested = evaluate(model, batches, batch_statistics=bool(config.batch_statistics), compile=config.compile)
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
    """Prints the numbers as a table."""
    statistics = f"statistics of batches of {config.images_per_batch}" if config.batch_statistics else "moving averages"
    rows = [
        ("top-1 accuracy", f"{numbers['top1']:.2%}"),
        ("top-5 accuracy", f"{numbers['top5']:.2%}"),
        ("loss", f"{numbers['loss']:.4f}"),
        ("parameters", f"{numbers['params']:,}"),
    ]
    if "kept" in numbers:
        rows.append(("weights kept", f"{numbers['kept']:,} ({numbers['density']:.2%})"))
    rows.append(("FLOPs (multiply-adds)", f"{numbers['flops']:,}"))
    if numbers["uncounted"]:
        rows.append(("without a FLOP count", ", ".join(numbers["uncounted"])))
    if "latency_ms" in numbers:
        latency = f"{numbers['latency_ms']:.2f} ms (minimum {numbers['latency_min_ms']:.2f}) on {numbers['device']}"
        rows.append(("latency, 1 image", latency))
    images = count(numbers["examples"], "test image")
    console = report_console()
    given, file = Path(config.trained_param), model_file(config.trained_param)
    name = file.name if file == given else f"{given.name}/{file.name}"
    console.print(Text(f"{name}, {images}, {statistics}", style="bold"))
    console.print(Text(make_table([Column("", "name"), Column("", "text")], rows, width=console.width)))
