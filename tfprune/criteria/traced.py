"""Tracing a function of a batch."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def traced(function: Callable[[Any, Any], Any], x: Any, y: Any) -> Callable[[Any, Any], Any]:
    """A `tf.function` of `(x, y)`, traced once for batches of any size.

    Args:
        function: What to trace.
        x: Inputs of an example batch.
        y: Its labels.

    Returns:
        The traced function. Batches of other shapes or types than those of the example are traced anew.
    """
    compiled = tf.function(function, reduce_retracing=True)
    compiled.get_concrete_function(*keras.tree.map_structure(_any_size, (x, y)))
    return compiled


def _any_size(tensor: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)
