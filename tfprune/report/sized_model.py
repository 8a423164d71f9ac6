"""Models that take inputs of any size, at one size."""

from collections.abc import Sequence

import keras

from tfprune.errors import ConfigError
from tfprune.graph.calls import functional_graph, model_calls


def has_unknown_sizes(model: keras.Model) -> bool:
    """Whether a size of one of a model's inputs is left open."""
    graph = functional_graph(model)
    return graph is not None and any(None in tensor.shape[1:] for tensor in graph.inputs)


def sized_model(model: keras.Model, input_shape: Sequence[int]) -> keras.Model:
    """A copy of a model that takes inputs of one size only: its layers' sizes, and so their costs, are known then.

    Args:
        model: A functional or sequential model with one input. It is not changed.
        input_shape: Shape of one example.

    Returns:
        A copy with the same weights; `model` itself if it takes nothing else anyway.

    Raises:
        ConfigError: The model does not take such inputs, or sizes within remain unknown.
    """
    if any(not isinstance(size, int) or size < 1 for size in input_shape):
        raise ConfigError(f"input_shape: expected whole numbers above 0, received {list(input_shape)}")
    graph = functional_graph(model)
    if len(graph.inputs) != 1:
        raise ConfigError(f"input_shape: expected a model with one input, received one with {len(graph.inputs)}")
    (given,) = graph.inputs
    taken = given.shape[1:]
    fits = len(taken) == len(input_shape) and all(a in (None, b) for a, b in zip(taken, input_shape, strict=True))
    if not fits:
        raise ConfigError(f"input_shape: expected one that fits {list(taken)}, received {list(input_shape)}")
    return _copy(model, tuple(input_shape)) if None in taken else model


def _copy(model: keras.Model, input_shape: tuple[int, ...]) -> keras.Model:
    config = model.get_config()
    for layer in config["layers"]:
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_shape"] = (None, *input_shape)
    if "build_input_shape" in config:
        config["build_input_shape"] = (None, *input_shape)
    layers = [type(call.layer) for call in model_calls(model)]
    classes = {layer.__name__: layer for layer in layers if not layer.__module__.startswith("keras.")}
    try:
        copy = type(model).from_config(config, custom_objects=classes)
    except ValueError as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"input_shape: {model.name} does not take inputs of {list(input_shape)}: {reason}") from error
    for old, new in zip(model.weights, copy.weights, strict=True):
        new.assign(old)
    for call in model_calls(copy):
        if any(None in tensor.shape[1:] for tensor in call.outputs):
            raise ConfigError(
                f"input_shape: the sizes within {model.name} remain unknown at {call.name}; "
                "build the model with a fixed input shape"
            )
    return copy
