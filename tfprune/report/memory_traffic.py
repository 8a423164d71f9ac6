"""Bytes that the layers of a model move."""

from collections.abc import Iterable
from math import prod

import keras

from tfprune.graph import Call

_BYTES = 4  # float32

_MOVES_NOTHING = (
    keras.layers.InputLayer,
    keras.layers.Identity,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.GaussianNoise,
    keras.layers.GaussianDropout,
    keras.layers.AlphaDropout,
    keras.layers.ActivityRegularization,
)


def moves_nothing(layer: keras.Operation) -> bool:
    """Whether a layer hands its input on in inference, at most in another shape."""
    return type(layer) in _MOVES_NOTHING


def memory_traffic(calls: Iterable[Call]) -> dict[str, int | None]:
    """Bytes that each layer reads and writes for one example, at float32: inputs, weights and outputs.

    It is what a layer moves that runs alone; a runtime that fuses layers or keeps tensors in its caches moves less.
    Weights count once per call, in recurrent layers, too, and of an embedding only what is looked up.
    Layers that hand their input on (input layers, dropout, flatten, reshape) move nothing.

    Args:
        calls: The calls of a model (`tfprune.graph.model_calls`).

    Returns:
        Bytes by layer, over all calls of the layer; None where a size is unknown.

    Example:
        >>> from tfprune.graph import model_calls
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> list(memory_traffic(model_calls(model)).values())[-1]  # 3 inputs, 3 x 2 weights and 2 biases, 2 outputs
        52
    """
    traffic: dict[str, int | None] = {}
    for call in calls:
        before = traffic.get(call.name, 0)
        moved = _moved(call)
        traffic[call.name] = None if before is None or moved is None else before + moved
    return traffic


def _moved(call: Call) -> int | None:
    if moves_nothing(call.layer):
        return 0
    shapes = [tensor.shape[1:] for tensor in (*call.inputs, *call.outputs)]
    if any(None in shape for shape in shapes):
        return None
    weights = sum(prod(weight.shape) for weight in getattr(call.layer, "weights", ()))
    if isinstance(call.layer, keras.layers.Embedding):
        weights = min(weights, prod(shapes[-1]))  # only the rows that are looked up
    return _BYTES * (weights + sum(map(prod, shapes)))
