"""How long a model takes for one batch, measured."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf


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
        model: A model with one input of fixed shape.
        batch_size: Examples per call.
        runs: Timed calls.
        warm_up: Calls before them, tracing included.

    Returns:
        Median and minimum. Wall time on a shared machine is noisy: compare models with `compare_latency`.
    """
    return compare_latency({"model": model}, batch_size=batch_size, runs=runs, warm_up=warm_up)["model"]


def compare_latency(
    models: Mapping[str, keras.Model], *, batch_size: int = 1, runs: int = 50, warm_up: int = 10
) -> dict[str, Latency]:
    """Times several models in turn, call by call, so that a change of the machine's speed meets all of them.

    Args:
        models: Models by name, each with one input of fixed shape.
        batch_size: Examples per call.
        runs: Timed calls of each model.
        warm_up: Calls before them, tracing included.

    Returns:
        A latency per name.
    """
    calls = {name: _call(model, batch_size) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for run in range(warm_up + runs):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if run >= warm_up:
                times[name].append(1e3 * (time.perf_counter() - started))
    device = _device()
    return {
        name: Latency(float(np.median(values)), float(np.min(values)), batch_size, device)
        for name, values in times.items()
    }


def _call(model: keras.Model, batch_size: int) -> Callable[[], np.ndarray]:
    function = tf.function(lambda values: model(values, training=False))
    values = tf.zeros([batch_size, *model.input_shape[1:]], model.inputs[0].dtype)
    return lambda: function(values).numpy()


def _device() -> str:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return platform.processor() or platform.machine()
