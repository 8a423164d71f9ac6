"""The function that exported files contain: what `model.predict` computes, with named inputs."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import keras

from tfprune.errors import UnsupportedLayerError, first_line
from tfprune.graph.calls import functional_graph
from tfprune.keras_private import flat_layers, input_structure

_COLOR = re.compile(r"\x1b\[\d*m")
_WHERE = re.compile(r"Exception encountered when calling [^\n]*\n")


def serving_function(plain: keras.Model) -> Callable[..., Any]:
    """Returns the function of the inputs that a file contains.

    Without `training=False`, layers that augment images would do so whenever the file is run: they train by default.

    Args:
        plain: A functional or sequential model.
    """
    return partial(plain, training=False)


def input_signature(plain: keras.Model, batch_size: int | None = None) -> list[Any]:
    """Returns what the function takes: one argument, the `keras.InputSpec` of each input in the model's structure.

    Args:
        plain: A functional or sequential model.
        batch_size: Examples per call. Default: any number, unless states are kept for each example.
    """
    by_state = bool(stateful_layers(plain))

    def spec(tensor: keras.KerasTensor) -> keras.InputSpec:
        return keras.InputSpec(
            shape=(batch_size or (tensor.shape[0] if by_state else None), *tensor.shape[1:]),
            dtype=tensor.dtype,
            name=tensor.name,
        )

    return [keras.tree.map_structure(spec, input_structure(functional_graph(plain)))]


def stateful_layers(plain: keras.Model) -> list[keras.Layer]:
    """Returns the layers that keep a state for each example between calls."""
    return [layer for layer in flat_layers(plain) if getattr(layer, "stateful", False)]


def has_open_sizes(plain: keras.Model) -> bool:
    """Returns whether an input has an axis, besides that of the batch, that takes any size."""
    return any(None in tensor.shape[1:] for tensor in plain.inputs)


def way_out(plain: keras.Model) -> str:
    """Returns what the user of a model that a format cannot express can do."""
    return f"{'give the inputs fixed sizes, or ' if has_open_sizes(plain) else ''}export to another format"


def conversion_error(format_name: str, plain: keras.Model, error: Exception) -> UnsupportedLayerError:
    """Returns an error of one line for whatever a converter has raised.

    Args:
        format_name: The format, such as `ONNX`.
        plain: The model.
        error: What was raised.
    """
    text = _WHERE.sub("", _COLOR.sub("", str(error))).strip()
    reason = first_line(ValueError(text)).split(". ")[0] if text else type(error).__name__
    return UnsupportedLayerError(
        f"expected a model that {format_name} can express, the conversion failed: {reason}; {way_out(plain)}"
    )
