"""Something to feed to a model."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.graph.calls import functional_graph


def example_inputs(model: keras.Model, batch_size: int) -> Any:
    """Random inputs of a model, as it takes them.

    Args:
        model: A functional or sequential model whose inputs have a fixed shape.
        batch_size: Examples.

    Returns:
        A tensor, or the list or mapping of tensors that the model is called with.

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
    return keras.tree.pack_sequence_as(graph._inputs_struct, values)


SIZES = "give the input_shape of one example, such as 224 224 3"
"""What to do about unknown sizes."""


def example_tensor(shape: Sequence[int | None], dtype: str, batch_size: int) -> tf.Tensor:
    """A tensor of a symbolic tensor's shape (batch axis included) and type: uniform in 0 .. 1, or zeros for integers.

    Unknown sizes are 1. Zeros would do for most layers, but not for those that divide by what they are given.
    """
    sizes = [batch_size, *(size or 1 for size in shape[1:])]
    if tf.as_dtype(dtype).is_floating:
        return tf.cast(np.random.default_rng(0).random(sizes, np.float32), dtype)
    return tf.zeros(sizes, dtype)
