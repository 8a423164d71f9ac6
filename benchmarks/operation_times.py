"""Where a model's inference spends its time: milliseconds per type of TensorFlow operation."""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

KINDS = {
    "FusedConv2D": "convolutions, with bias and ReLU fused",
    "Conv2D": "convolutions",
    "DepthwiseConv2dNative": "depthwise convolutions",
    "MatMul": "dense layers",
    "Pool": "pooling",
    "Mean": "pooling",
    "Pad": "padding layers",
    "Mul": "batch norm, additions",
    "Add": "batch norm, additions",
    "Sub": "batch norm, additions",
    "Rsqrt": "batch norm, additions",
    "FusedBatchNorm": "batch norm, additions",
    "Relu": "activations",
    "Sigmoid": "activations",
}
"""What operations whose name contains a key belong to; the first that fits."""


def operation_times(calls: Mapping[str, Callable[[], Any]], rounds: int = 5) -> dict[str, Counter[str]]:
    """Traces calls in turn with TensorFlow's profiler.

    Args:
        calls: What to call, by name; everything is called once before.
        rounds: How often. Of each operation the fastest run counts, since others may use the processor.

    Returns:
        Milliseconds of one call by kind of operation (`KINDS`, or `other operations`).
    """
    fastest: dict[str, dict[str, float]] = {name: {} for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            for node, value in _traced(call).items():
                fastest[name][node] = min(value, fastest[name].get(node, value))
    return {name: _by_kind(nodes) for name, nodes in fastest.items()}


def _traced(call: Callable[[], Any]) -> Counter[str]:
    """Milliseconds by name of operation, its type included."""
    with tempfile.TemporaryDirectory() as folder:
        options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2, python_tracer_level=0)
        tf.profiler.experimental.start(folder, options=options)
        try:
            call()
        finally:
            tf.profiler.experimental.stop()
        (path,) = Path(folder).rglob("*.xplane.pb")
        return _operations(path.read_bytes())


def _operations(trace: bytes) -> Counter[str]:
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    times: Counter[str] = Counter()
    for plane in xplane_pb2.XSpace.FromString(trace).planes:
        names = {key: data.name for key, data in plane.event_metadata.items()}
        for event in (event for line in plane.lines for event in line.events):
            name = names[event.metadata_id]
            node, colon, _ = name.rpartition(":")
            if colon and "/" in node and " " not in node and "::" not in node:
                times[name] += event.duration_ps / 1e9
    return times


def _by_kind(nodes: Mapping[str, float]) -> Counter[str]:
    times: Counter[str] = Counter()
    for name, value in nodes.items():
        operation = name.rpartition(":")[2]
        times[next((kind for key, kind in KINDS.items() if key in operation), "other operations")] += value
    return times
