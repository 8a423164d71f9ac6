"""Which tensors of a model cannot be negative."""

from typing import Any

import keras

from tfprune.graph.calls import Call, model_calls

layers = keras.layers
_activations = keras.activations

_ACTIVATIONS = (
    _activations.relu,
    _activations.relu6,
    _activations.sigmoid,
    _activations.hard_sigmoid,
    _activations.softmax,
    _activations.softplus,
    _activations.exponential,
)
_MAKING = {"Relu", "Relu6", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Exp", "Absolute", "Square"}
_PASSING = {
    *("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Mean", "Max", "Sum"),
    *("Reshape", "Flatten", "Permute", "Transpose", "RepeatVector", "Squeeze", "ExpandDims"),
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
    *(f"{kind}Pooling{n}D" for n in (1, 2, 3) for kind in ("Max", "Average", "GlobalMax", "GlobalAverage")),
    *(f"{kind}{n}D" for n in (1, 2, 3) for kind in ("ZeroPadding", "Cropping")),
    *("UpSampling1D", "UpSampling3D", "MaxPool", "AveragePool", "Identity"),
}


def non_negative_inputs(model: keras.Model) -> set[int]:
    """The layers whose inputs cannot be negative, wherever they are called.

    Known are: rectifiers, sigmoids, softmax and the like, as activations, layers and operations; and what leaves signs
    alone: pooling, padding, dropout, changes of shape, concatenation, sums, means and products.

    Args:
        model: A functional or sequential model.

    Returns:
        `id`s of layers.
    """
    tensors: set[int] = set()
    known: dict[int, bool] = {}
    for call in model_calls(model):
        never = bool(call.inputs) and all(id(tensor) in tensors for tensor in call.inputs)
        known[id(call.layer)] = known.get(id(call.layer), True) and never
        if _makes(call.layer) or (never and _passes(call)):
            tensors.update(id(tensor) for tensor in call.outputs)
    return {layer for layer, never in known.items() if never}


def _makes(layer: Any) -> bool:
    if isinstance(layer, layers.ReLU):
        return not layer.negative_slope and layer.threshold >= 0
    kind = type(layer)
    if kind.__module__.startswith("keras.") and kind.__name__ in _MAKING:
        return not getattr(layer, "negative_slope", 0)
    return any(getattr(layer, "activation", None) is each for each in _ACTIVATIONS)


def _passes(call: Call) -> bool:
    kind = type(call.layer)
    if kind is layers.UpSampling2D:
        return call.layer.interpolation in ("nearest", "bilinear")
    # An operation may take a constant besides, which may be negative.
    bare = not isinstance(call.layer, keras.Layer)
    if bare and kind.__name__ in ("Add", "Multiply", "Minimum") and len(call.inputs) < 2:
        return False
    return kind.__module__.startswith("keras.") and kind.__name__ in _PASSING
