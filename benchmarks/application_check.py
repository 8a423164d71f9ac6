"""Prunes one model of keras.applications and checks the result; `applications.py` does it for all."""

import contextlib
import inspect
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from profiler_flops import kernel_flops, profiler_flops

from tfprune.criteria import Random
from tfprune.graph import ChannelGroups, CostModel, channel_groups, complexity, masked, slim
from tfprune.pruning import plan_channels
from tfprune.report import compare_latency

Row = dict[str, Any]
SIZE_WHERE_OPEN = 224
LARGEST_ERROR, LEAST_EFFECT = 1e-4, 1e-2


@dataclass(frozen=True)
class Settings:
    """How a model is pruned and timed.

    Attributes:
        flops: Fraction of the FLOPs to keep.
        round_to: Widths are multiples of this.
        seed: Weights, and which channels.
        runs: Timed calls of each model.
        warm_up: Calls before them.
        threads: For operations.
    """

    flops: float = 0.5
    round_to: int = 8
    seed: int = 0
    runs: int = 20
    warm_up: int = 3
    threads: int = 1


def model_names() -> list[str]:
    """All constructors of keras.applications."""
    found = inspect.getmembers(keras.applications, inspect.isfunction)
    return [name for name, _ in found if name[0].isupper()]


def check(name: str, settings: Settings) -> Row:
    """Everything about one model but its latency; the pruned model is found under `models` of the answer."""
    row: Row = {"model": name, "flops_target": settings.flops, "round_to": settings.round_to, "seed": settings.seed}
    with _cpu_seconds(row, "build_seconds"):
        model = make_model(name)
    randomise(model, settings.seed)
    with _cpu_seconds(row, "graph_seconds"):
        groups = channel_groups(model)
    with _cpu_seconds(row, "plan_seconds"):
        mask = choose(model, settings)
    settle(model, mask, groups)
    with _cpu_seconds(row, "slim_seconds"):
        small = slim(model, mask, groups)
    row |= {"groups": len(groups), "channels": groups.channels, "kept_channels": int(mask.sum())}
    row |= {"input": list(model.input_shape[1:]), "pinned": list(groups.pinned), "layers": len(model._flatten_layers())}
    row |= outputs(model, masked(model, mask, groups), small)
    row |= costs(model, small, CostModel(model, groups), mask)
    return row | latency(model, small, settings)


def latency_only(name: str, settings: Settings) -> Row:
    """The latency of the same pair of models that `check` makes, but for the values of their weights."""
    model = make_model(name)
    return {"model": name} | latency(model, slim(model, choose(model, settings)), settings)


def make_model(name: str) -> keras.Model:
    """A model without softmax, at its own input size or 224."""
    make = getattr(keras.applications, name)
    model = make(weights=None, classifier_activation=None)
    if None in model.input_shape[1:]:
        model = make(weights=None, classifier_activation=None, input_shape=(SIZE_WHERE_OPEN, SIZE_WHERE_OPEN, 3))
    return model


def randomise(model: keras.Model, seed: int) -> None:
    """Sets weights such that signals keep their size, and no two channels are alike."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        shape = variable.shape
        if variable.name.endswith("kernel"):
            inputs = np.prod(shape[:-2] if "depthwise" in variable.path else shape[:-1])
            variable.assign(rng.standard_normal(shape, np.float32) * np.sqrt(2 / inputs, dtype=np.float32))
        elif variable.name in ("beta", "bias"):
            variable.assign(rng.normal(0, 0.1, shape))
        elif variable.name == "gamma" or "layer_scale" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, shape))


def choose(model: keras.Model, settings: Settings) -> np.ndarray:
    """A random choice of channels: which ones are kept, bool `[channels]`."""
    return plan_channels(model, Random(settings.seed), flops=settings.flops, round_to=settings.round_to).mask


def settle(model: keras.Model, mask: np.ndarray, groups: ChannelGroups) -> None:
    """Sets batch norms' moving statistics to those that the model has when pruned, on a batch.

    As Keras makes the models, and with statistics of the whole model too, signals die out on the way through the pruned
    one: its outputs do not depend on the images, and agree with anything that has the same offsets.
    """
    reference = masked(model, mask, groups)
    norms = [layer for layer in reference._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0  # the moving statistics become those of the next batch
    if norms:
        logits(reference, images(model), training=True)
    for variable, settled in zip(model.variables, reference.variables, strict=True):
        if variable.name.startswith("moving_"):
            variable.assign(settled)


def images(model: keras.Model, count: int = 2) -> np.ndarray:
    """Random patches of colour, of the range that the model asks for."""
    height, width, channels = model.input_shape[1:]
    bytes_wanted = any(isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in model.layers)
    patches = np.random.default_rng(1).uniform(0, 255 if bytes_wanted else 1, (count, 7, 7, channels))
    return np.asarray(tf.image.resize(patches.astype(np.float32), (height, width)))


def outputs(model: keras.Model, reference: keras.Model, small: keras.Model) -> Row:
    """Compares the logits of the original, the masked and the pruned model."""
    batch = images(model)
    whole, cut, found = (logits(each, batch) for each in (model, reference, small))
    return {
        "shape": found.shape == whole.shape and small.input_shape == model.input_shape,
        "error": difference(cut, found),
        "power": difference(whole, cut),
        "response": difference(found[:1], found[1:2]),
    }


def logits(model: keras.Model, batch: np.ndarray, training: bool = False) -> np.ndarray:
    """Outputs of a traced model; called as it is, Keras would keep all tensors in memory to the end."""
    return tf.function(lambda values: model(values, training=training))(tf.constant(batch)).numpy()


def difference(left: np.ndarray, right: np.ndarray) -> float:
    """Largest difference, in terms of the largest value."""
    return float(np.abs(left - right).max() / np.abs(left).max())


def costs(model: keras.Model, small: keras.Model, cost: CostModel, mask: np.ndarray) -> Row:
    """What both models cost, by our count, by Keras' and by the profiler's."""
    row: Row = {}
    for side, each in (("before", model), ("after", small)):
        ours = complexity(each)
        row[side] = {"params": each.count_params(), "flops": ours.flops, "macs": ours.macs}
        row[side]["profiler"] = kernel_flops(profiler_flops(each))
    predicted = cost.complexity(mask)
    counted = row["after"]
    row["counts"] = (predicted.params, predicted.flops) == (counted["params"], counted["flops"])
    return row | {"uncounted": list(predicted.uncounted)}


def latency(model: keras.Model, small: keras.Model, settings: Settings) -> Row:
    """Milliseconds of a call with one image, the models taking turns."""
    times = compare_latency({"before": model, "after": small}, runs=settings.runs, warm_up=settings.warm_up)
    values = {name: {"median_ms": each.median_ms, "minimum_ms": each.minimum_ms} for name, each in times.items()}
    return {
        "latency": values | {"threads": settings.threads, "runs": settings.runs, "device": times["after"].device},
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }


def failures(row: Row) -> list[str]:
    """Names of the checks that a model does not pass."""
    passed = {
        "shape": row["shape"],
        "error": row["error"] < LARGEST_ERROR,
        "power": row["power"] > LEAST_EFFECT,
        "response": row["response"] > LEAST_EFFECT,
        "counts": row["counts"],
        "profiler": all(2 * row[side]["macs"] == row[side]["profiler"] for side in ("before", "after")),
        "budget": row["after"]["flops"] <= row["flops_target"] * row["before"]["flops"],
        "pinned": not row["pinned"],
    }
    return [name for name, good in passed.items() if not good]


@contextlib.contextmanager
def _cpu_seconds(row: Row, key: str) -> Iterator[None]:
    start = time.process_time()
    yield
    row[key] = round(time.process_time() - start, 3)
