"""The latency of a model: measured wall time for one batch.

Times on a shared machine are noisy, and the speed of a processor changes. Models that are compared therefore take
turns, call by call, in an order that is reversed with every run.
"""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfprune.arguments import whole_number
from tfprune.errors import ConfigError
from tfprune.graph.calls import functional_graph, no_graph
from tfprune.keras_private import input_structure

_LARGEST_BATCH = 2**16
SIZES = "give the input_shape of one example, such as 224 224 3"
"""Advice for models whose inputs have unknown sizes."""


@dataclass(frozen=True)
class Latency:
    """Wall time of one call.

    Attributes:
        median_ms: Median over the runs, milliseconds.
        minimum_ms: The fastest run, milliseconds.
        batch_size: Examples per call.
        device: Name of the device.
    """

    median_ms: float
    minimum_ms: float
    batch_size: int
    device: str


def measure_latency(model: keras.Model, *, batch_size: int = 1, runs: int = 50, warm_up: int = 10) -> Latency:
    """Measures the latency of a model in inference.

    Args:
        model: A model whose inputs have a fixed shape.
        batch_size: Examples per call.
        runs: Timed calls.
        warm_up: Calls before them, tracing included.

    Returns:
        Median and minimum. To compare models, use `compare_latency`.

    Raises:
        ConfigError: An input of the model has an unknown size, or the model has no graph.
        UnsupportedLayerError: It is no model.
    """
    if not isinstance(model, keras.Model):
        raise no_graph(model)
    return compare_latency({"model": model}, batch_size=batch_size, runs=runs, warm_up=warm_up)["model"]


Calls = Callable[[int], Callable[[], object]]
"""What is measured of a model that Keras does not run: a function from the batch size to one call."""


def compare_latency(
    models: Mapping[str, keras.Model | Calls],
    *,
    batch_size: int = 1,
    runs: int = 50,
    warm_up: int = 10,
    description: str | None = None,
) -> dict[str, Latency]:
    """Measures the latency of several models in turn, call by call, so that all are affected by changes of speed.

    Args:
        models: Models by name, whose inputs have a fixed shape; or functions that return a call for a batch size.
        batch_size: Examples per call.
        runs: Timed calls of each model.
        warm_up: Calls before them, tracing included.
        description: Text before a progress bar. Default: no bar.

    Returns:
        A latency per name.

    Raises:
        ConfigError: A model has an input of unknown size, or no graph.
    """
    batch_size = whole_number("batch_size", batch_size, at_most=_LARGEST_BATCH)
    runs, warm_up = whole_number("runs", runs), whole_number("warm_up", warm_up, at_least=0)
    calls: dict[str, Callable[[], object]] = {
        name: _call(model, batch_size) if isinstance(model, keras.Model) else model(batch_size)
        for name, model in models.items()
    }
    times = alternating_times(calls, runs=runs, warm_up=warm_up, description=description)
    device = device_name()
    return {
        name: Latency(float(np.median(values)), float(np.min(values)), batch_size, device)
        for name, values in times.items()
    }


def _call(model: keras.Model, batch_size: int) -> Callable[[], list[np.ndarray]]:
    """Returns a function that runs a model, traced, and is complete when it returns."""
    values = example_inputs(model, batch_size)
    function = tf.function(lambda inputs: keras.tree.flatten(model(inputs, training=False)))
    return lambda: [output.numpy() for output in function(values)]


def device_name() -> str:
    """Returns the name of the device that TensorFlow uses: the first GPU, or the processor."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return _cpu_name()


def _cpu_name() -> str:
    """Returns the name of the processor on Linux, its architecture elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def alternating_times(
    calls: Mapping[str, Callable[[], object]], *, runs: int, warm_up: int, description: str | None = None
) -> dict[str, np.ndarray]:
    """Measures the time of several functions in turn, so that all are affected by changes of speed.

    The order is reversed with every run, so that what a call leaves in the caches helps both neighbors equally.

    Args:
        calls: The functions by name.
        runs: Timed calls of each.
        warm_up: Calls of each before them.
        description: Text before a progress bar. Default: no bar.

    Returns:
        Milliseconds of every run by name, `[runs]` each, in the order of the runs.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    hidden = None if description else True
    for run in tqdm(range(warm_up + runs), desc=description, disable=hidden, leave=False):
        for name in reversed(names) if run % 2 else names:
            started = time.perf_counter()
            calls[name]()
            milliseconds = 1e3 * (time.perf_counter() - started)
            if run >= warm_up:
                times[name].append(milliseconds)
    return {name: np.array(values) for name, values in times.items()}


def example_inputs(model: keras.Model, batch_size: int) -> Any:
    """Returns random inputs of a model, in the structure that it is called with.

    Args:
        model: A functional or sequential model whose inputs have a fixed shape.
        batch_size: Number of examples.

    Returns:
        A tensor, or a list or mapping of tensors.

    Raises:
        ConfigError: The size of an input is unknown, or the model has no graph.
    """
    graph = functional_graph(model)
    if graph is None:
        raise ConfigError(f"expected a functional or sequential model, received {type(model).__name__}")
    shapes = [tensor.shape for tensor in graph.inputs]
    if any(None in shape[1:] for shape in shapes):
        shown = shapes[0] if len(shapes) == 1 else shapes
        raise ConfigError(f"expected a model whose inputs have a fixed shape, {model.name} takes {shown}; {SIZES}")
    values = [example_tensor(tensor.shape, tensor.dtype, batch_size) for tensor in graph.inputs]
    return keras.tree.pack_sequence_as(input_structure(graph), values)


def example_tensor(shape: Sequence[int | None], dtype: str, batch_size: int) -> tf.Tensor:
    """Returns a tensor of a shape (batch axis included) and type: uniform in [0, 1), or zeros for integers.

    Unknown sizes become 1. Zeros would not do for layers that divide by their input.
    """
    sizes = [batch_size, *(size or 1 for size in shape[1:])]
    if tf.as_dtype(dtype).is_floating:
        return tf.cast(np.random.default_rng(0).random(sizes, np.float32), dtype)
    return tf.zeros(sizes, dtype)
