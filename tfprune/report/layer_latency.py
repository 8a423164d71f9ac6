"""The latency of each layer of a model, measured alone.

The time of a call that does nothing is measured beside the layers and subtracted. The layers of a model need not add up
to the whole model, which TensorFlow may fuse and run in parallel.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfprune.errors import ConfigError
from tfprune.graph import Call
from tfprune.graph.opened_graph import opened_graph
from tfprune.keras_private import takes_training
from tfprune.report.latency import SIZES, alternating_times, example_tensor
from tfprune.report.model_report import moves_nothing

_EMPTY = ""  # name of the function that does nothing, among models' names


def compare_layer_latency(
    models: Mapping[str, keras.Model], *, batch_size: int = 1, runs: int = 20, warm_up: int = 3
) -> dict[str, dict[str, float]]:
    """Measures the latency of every layer alone, with inputs of the shape that it has in the model.

    Layers of the same name in several models take turns, call by call, with a function that does nothing, whose time is
    subtracted as the overhead of a call.

    Args:
        models: Models by name, whose inputs have a fixed shape.
        batch_size: Examples per call.
        runs: Timed calls of each layer.
        warm_up: Calls before them.

    Returns:
        Per model, median milliseconds by layer, over all calls of the layer.

    Raises:
        ConfigError: A tensor in a model has an unknown size.
    """
    calls = {name: _calls_by_layer(model, batch_size) for name, model in models.items()}
    layers = list(dict.fromkeys(layer for each in calls.values() for layer in each))
    result: dict[str, dict[str, float]] = {name: {} for name in models}
    for layer in tqdm(layers, desc="timing layers", disable=None, leave=False):
        timed = {name: each[layer] for name, each in calls.items() if layer in each}
        for name, milliseconds in _layer_times(timed, batch_size, runs, warm_up).items():
            result[name][layer] = milliseconds
    return result


def _calls_by_layer(model: keras.Model, batch_size: int) -> dict[str, list[Call]]:
    """Returns the calls of each layer, also within opaque ones; raises `ConfigError` for tensors of unknown size."""
    found: dict[str, list[Call]] = {}
    graph = opened_graph(model)
    if graph.sizes is not None:
        graph = opened_graph(model, [(batch_size, *shape[1:]) for shape in graph.sizes])
    for call in graph.calls:
        found.setdefault(call.name, []).append(call)
        for tensor in (*call.inputs, *call.outputs):
            if None in tensor.shape[1:]:
                raise ConfigError(f"{model.name}: the size of {tensor.shape} at {call.name} is unknown; {SIZES}")
    return found


def _layer_times(calls: Mapping[str, Sequence[Call]], batch_size: int, runs: int, warm_up: int) -> dict[str, float]:
    """Returns the milliseconds of one layer in each model, without the overhead of a call."""
    total = dict.fromkeys(calls, 0.0)
    for index in range(max(map(len, calls.values()))):
        there = {name: each[index] for name, each in calls.items() if index < len(each)}
        if moves_nothing(next(iter(there.values())).layer):
            continue
        first, *others = [(name, _function(call, batch_size)) for name, call in there.items()]
        empty = (_EMPTY, _empty(next(iter(there.values())), batch_size))
        # The empty function is in the middle, or one of two models would always run after it.
        times = alternating_times(dict([first, empty, *others]), runs=runs, warm_up=warm_up)
        overhead = times.pop(_EMPTY)
        for name, values in times.items():
            total[name] += max(0.0, float(np.median(values - overhead)))
    return total


def _function(call: Call, batch_size: int) -> Callable[[], object]:
    """Returns a function that runs a layer."""

    def compute(*inputs: tf.Tensor) -> list[tf.Tensor]:
        arguments, named = call.arguments({id(old): new for old, new in zip(call.inputs, inputs, strict=True)})
        if takes_training(call.layer):  # layers that augment images do so by default
            named = {**named, "training": False}
        return keras.tree.flatten(call.layer(*arguments, **named))

    return _traced(compute, call, batch_size)


def _empty(call: Call, batch_size: int) -> Callable[[], object]:
    """Returns a function that takes the same inputs and does nothing."""
    return _traced(lambda *inputs: [tf.identity(value) for value in inputs], call, batch_size)


def _traced(compute: Callable[..., Any], call: Call, batch_size: int) -> Callable[[], object]:
    """Traces a function for the inputs of a call; it is complete, also on a GPU, when it returns."""
    sizes = [tensor.shape[0] if call.examples else batch_size for tensor in call.inputs]  # a weight has its own
    values = [example_tensor(tensor.shape, tensor.dtype, size) for tensor, size in zip(call.inputs, sizes, strict=True)]
    concrete = tf.function(compute).get_concrete_function(*(tf.TensorSpec(each.shape, each.dtype) for each in values))

    def run() -> None:
        concrete(*values)
        tf.test.experimental.sync_devices()

    return run
