"""Small questions that many rules ask about axes and sizes."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Axes, Labels, Vector


def channel_axis(layer: Any, tensor: keras.KerasTensor) -> int:
    """Index of the channel axis among the axes after the batch axis."""
    return 0 if getattr(layer, "data_format", None) == "channels_first" else len(tensor.shape) - 2


def after_batch(axis: int, tensor: keras.KerasTensor) -> int:
    """From an axis as Keras counts it, batch included, to its index after the batch axis; -1 is the batch axis."""
    return axis % len(tensor.shape) - 1


def positions(sizes: Iterable[int | None]) -> int:
    """How many positions some axes have; unknown sizes count as 1."""
    return int(np.prod([size or 1 for size in sizes], dtype=np.int64))


def pin_all_but(labels: Labels, axes: Axes, kept: int) -> Vector:
    """Pins the labels of all axes but one, and returns that one's."""
    labels.pin(*(vector for index, vector in enumerate(axes) if index != kept))
    return axes[kept]


def only(axis: int, vector: Vector, tensor: keras.KerasTensor) -> Axes:
    """Labels on one axis of a tensor, none on the others."""
    return tuple(vector if index == axis else None for index in range(len(tensor.shape) - 1))


def extent(vectors: Axes, sizes: Iterable[int | None]) -> int:
    """Positions along those axes that have no labels."""
    return positions(size for vector, size in zip(vectors, sizes, strict=True) if vector is None)


def activation_mixes(layer: Any) -> bool:
    """Whether a layer's activation may mix channels: softmax does, and a function that is not Keras' own may."""
    return mixes(getattr(layer, "activation", None))


def mixes(function: Any) -> bool:
    """Whether an activation function may mix channels."""
    if function is None:
        return False
    name = getattr(function, "__name__", "")
    ours = getattr(keras.activations, name, None) is function
    return not ours or name in ("softmax", "log_softmax", "sparsemax", "glu")


def constants_of(call: Call) -> list[Any]:
    """Arrays among the arguments of a call that are no symbolic tensors and hold more than one value."""
    arguments, named = call.arguments({id(tensor): None for tensor in call.inputs})
    leaves = keras.tree.flatten((arguments, named))
    return [leaf for leaf in leaves if np.prod(getattr(leaf, "shape", ()), dtype=np.int64) > 1]
