"""How long a model takes for one batch, measured."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfprune.report.alternating_times import alternating_times
from tfprune.report.example_inputs import example_inputs


@dataclass(frozen=True)
class Latency:
    """Wall time of one call.

    Attributes:
        median_ms: Median over the runs, milliseconds.
        minimum_ms: The fastest run, milliseconds.
        batch_size: Examples per call.
        device: What it ran on.
    """

    median_ms: float
    minimum_ms: float
    batch_size: int
    device: str


def measure_latency(model: keras.Model, *, batch_size: int = 1, runs: int = 50, warm_up: int = 10) -> Latency:
    """Times a model's inference in a traced function.

    Args:
        model: A model whose inputs have a fixed shape.
        batch_size: Examples per call.
        runs: Timed calls.
        warm_up: Calls before them, tracing included.

    Returns:
        Median and minimum. Wall time on a shared machine is noisy: compare models with `compare_latency`.
    """
    return compare_latency({"model": model}, batch_size=batch_size, runs=runs, warm_up=warm_up)["model"]


def compare_latency(
    models: Mapping[str, keras.Model],
    *,
    batch_size: int = 1,
    runs: int = 50,
    warm_up: int = 10,
    description: str | None = None,
) -> dict[str, Latency]:
    """Times several models in turn, call by call, so that a change of the machine's speed meets all of them.

    Args:
        models: Models by name, whose inputs have a fixed shape.
        batch_size: Examples per call.
        runs: Timed calls of each model.
        warm_up: Calls before them, tracing included.
        description: What stands before a progress bar. Default: no bar.

    Returns:
        A latency per name.

    Raises:
        ConfigError: A model has an input of unknown size.
    """
    calls = {name: _call(model, batch_size) for name, model in models.items()}
    times = alternating_times(calls, runs=runs, warm_up=warm_up, description=description)
    device = device_name()
    return {
        name: Latency(float(np.median(values)), float(np.min(values)), batch_size, device)
        for name, values in times.items()
    }


def _call(model: keras.Model, batch_size: int) -> Callable[[], list[np.ndarray]]:
    values = example_inputs(model, batch_size)
    function = tf.function(lambda inputs: keras.tree.flatten(model(inputs, training=False)))
    return lambda: [output.numpy() for output in function(values)]


def device_name() -> str:
    """What TensorFlow computes on: the first GPU, or the processor."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return _cpu_name()


def _cpu_name() -> str:
    """The processor's name where the system tells it (Linux), its architecture elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
