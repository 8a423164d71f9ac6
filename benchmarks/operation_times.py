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
        rounds: How often.

    Returns:
        Milliseconds of one call by kind of operation (`KINDS`, or `other operations`).
    """
    times: dict[str, Counter[str]] = {}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            times.setdefault(name, Counter()).update(_traced(call))
    return {name: Counter({kind: value / rounds for kind, value in each.items()}) for name, each in times.items()}


def _traced(call: Callable[[], Any]) -> Counter[str]:
    with tempfile.TemporaryDirectory() as folder:
        options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2, python_tracer_level=0)
        tf.profiler.experimental.start(folder, options=options)
        try:
            call()
        finally:
            tf.profiler.experimental.stop()
        (path,) = Path(folder).rglob("*.xplane.pb")
        return _by_kind(path.read_bytes())


def _by_kind(trace: bytes) -> Counter[str]:
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    times: Counter[str] = Counter()
    for plane in xplane_pb2.XSpace.FromString(trace).planes:
        names = {key: data.name for key, data in plane.event_metadata.items()}
        for event in (event for line in plane.lines for event in line.events):
            node, colon, operation = names[event.metadata_id].rpartition(":")
            if colon and "/" in node and " " not in node and "::" not in node:
                kind = next((kind for key, kind in KINDS.items() if key in operation), "other operations")
                times[kind] += event.duration_ps / 1e9
    return times
