"""Floating-point operations of a model as TensorFlow's own profiler counts them."""

from collections import Counter
from typing import Any

import keras
import tensorflow as tf

KERNEL_OPERATIONS = ("Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2")
"""Operations with a kernel: what `tfprune.graph.cost` counts as multiply-accumulates, two operations each."""


def profiler_flops(model: keras.Model) -> dict[str, int]:
    """Traces a model's inference on one example and lets TensorFlow's profiler count.

    Args:
        model: A model with one input of fixed shape.

    Returns:
        Floating-point operations per type of TensorFlow operation; those in functions compiled by XLA (grouped
        convolutions on CPUs), which the profiler does not open by itself, are counted function by function.
    """
    values = tf.TensorSpec([1, *model.input_shape[1:]], model.inputs[0].dtype)
    function = tf.function(lambda inputs: model(inputs, training=False)).get_concrete_function(values)
    return dict(_count(function.graph))


def kernel_flops(counted: dict[str, int]) -> int:
    """The share of convolutions and matrix products."""
    return sum(counted.get(operation, 0) for operation in KERNEL_OPERATIONS)


def _count(graph: Any) -> Counter[str]:
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()
    counted: Counter[str] = Counter()
    node = tf.compat.v1.profiler.profile(graph, options=options, cmd="op")
    while node is not None:  # the profiler's list of operation types is a chain, each with the sum of all after it
        child = node.children[0] if node.children else None
        counted[node.name] += node.total_float_ops - (child.total_float_ops if child else 0)
        node = child
    for operation in graph.get_operations():
        if operation.type == "StatefulPartitionedCall":
            counted += _count(graph._get_function(operation.get_attr("f").name).graph)
    return +counted
