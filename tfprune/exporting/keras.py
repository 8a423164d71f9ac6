"""Models of built-in Keras layers only, and `.keras` files of them, which load without tfprune.

All formats write a `plain_model`. A `folded_model` has, in addition, no batch norms behind convolutions and dense
layers; packed files use it.
"""

import os
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from tfprune.arguments import truth
from tfprune.console import quiet
from tfprune.errors import UnsupportedLayerError
from tfprune.exporting.output import output_file, output_path
from tfprune.exporting.record import Record, add_record
from tfprune.graph import ModelClassWarning, convert, model_calls, rebuild
from tfprune.graph.calls import check_finite_weights
from tfprune.graph.layer_copies import copied_layer
from tfprune.keras_private import flat_layers
from tfprune.layers.kernels import kernel_layer, named_kernels


def save_model(model: keras.Model, path: str | os.PathLike[str], *, record: Record | None = None) -> None:
    """Writes a model as a `.keras` file of built-in layers; it loads without tfprune.

    Args:
        model: A functional or sequential model without masks and gates.
        path: The file, ending in `.keras`; an older one is replaced, a missing folder created.
        record: What to store in the file about the model, see `tfprune.exporting.record_text`. Default: nothing.

    Raises:
        UnsupportedLayerError: See `plain_model`.
        ConfigError: The name does not end in `.keras`, or is that of a folder; the record has other than plain values.
        WriteError: The file cannot be written.
    """
    path = output_path(path, ".keras")
    plain = plain_model(model, has_class=True)
    with output_file(path) as partial, quiet():
        plain.save(partial)
        add_record(partial, record)


def plain_model(model: keras.Model, *, has_class: bool = False) -> keras.Model:
    """Copies a model to built-in Keras layers.

    Args:
        model: A functional or sequential model, models within it included; our batch norm is replaced by Keras' own.
        has_class: Whether the copy's class matters, so that a `ModelClassWarning` says what it has lost.

    Returns:
        The copy; float32 whatever the policy of `model`.

    Raises:
        UnsupportedLayerError: The model has masked or gated layers, which built-in layers cannot express, or no graph.
        ConfigError: A weight has NaN or infinity in it.
    """
    has_class = truth("has_class", has_class)
    if isinstance(model, keras.Layer):
        check_finite_weights(model)
    with warnings.catch_warnings():
        if not has_class:
            warnings.simplefilter("ignore", ModelClassWarning)
        plain = convert(model, "plain", dtype="float32")
    layers = [layer for layer in flat_layers(plain) if not isinstance(layer, keras.Model)]
    ours = [f"{layer.name} ({type(layer).__name__})" for layer in layers if _is_ours(layer)]
    if ours:
        raise UnsupportedLayerError(
            f"expected a model that built-in Keras layers can express, received {', '.join(ours)}; slim the model first"
        )
    for layer in layers:
        # Layers within layers (TimeDistributed, Bidirectional) have policies of their own.
        if layer.compute_dtype in ("bfloat16", "float16"):
            layer.dtype_policy = "float32"
    return plain


def _is_ours(layer: keras.Layer) -> bool:
    """Returns whether a layer is defined in tfprune."""
    return type(layer).__module__.split(".")[0] == "tfprune"


def folded_model(model: keras.Model) -> keras.Model:
    """Copies a model for inference, with each batch norm directly behind a convolution or dense layer folded into it.

    Args:
        model: A functional or sequential model of built-in layers. It is not changed.

    Returns:
        The copy; `model` itself if there is nothing to fold. Other batch norms (behind a pooling, an activation, a sum)
        and layers called twice are kept.
    """
    folds = _folds(model)
    if not folds.norm_of:
        return model

    def make(layer: keras.Layer) -> keras.Layer:
        if id(layer) in folds.folded:
            new = keras.layers.Identity(name=layer.name)
            folds.dropped.add(id(new))
            return new
        return copied_layer(layer, {"use_bias": lambda _: True} if id(layer) in folds.norm_of else None)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if id(layer) in folds.dropped else layer(*args, **kwargs)

    def weight(layer: keras.Layer, variable: keras.Variable) -> Any:
        norm = folds.norm_of.get(id(layer))
        if norm is None:
            return variable
        factor, offset = _affine(norm)
        (kernel,) = named_kernels(layer)
        if variable is not getattr(layer, kernel.attribute):
            return np.asarray(variable) * factor + offset
        if kernel.depthwise:
            factor = factor.reshape(variable.shape[-2:])
        else:
            assert kernel.outputs is not None, "the table makes sure where norms fold"
            factor = factor.reshape(-1, *[1] * (-kernel.outputs - 1))
        return (np.asarray(variable) * factor).astype(np.float32)

    new = rebuild(model, make, call, weight, may_add_weights=True)
    for name, norm in folds.without_bias.items():
        new.get_layer(name).bias.assign(_affine(norm)[1])
    return new


@dataclass
class _Folds:
    """Batch norms to fold; layers are identified by `id`.

    Attributes:
        norm_of: The batch norm behind each layer that one is folded into.
        folded: These batch norms.
        dropped: Their counterparts in the copy, which are not called.
        without_bias: The batch norm of each layer without a bias, by the layer's name.
    """

    norm_of: dict[int, Any] = field(default_factory=dict)
    folded: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)
    without_bias: dict[str, Any] = field(default_factory=dict)


def _folds(model: keras.Model) -> _Folds:
    """Finds the batch norms to fold."""
    calls = model_calls(model)
    uses = Counter(id(call.layer) for call in calls)
    reads = Counter(id(tensor) for call in calls for tensor in call.inputs)
    made = {id(tensor): call for call in calls for tensor in call.outputs}
    top = {id(layer) for layer in model.layers}
    folds = _Folds()
    for call in calls:
        norm = call.layer
        if type(norm) is not keras.layers.BatchNormalization or uses[id(norm)] > 1:
            continue
        before = made[id(call.inputs[0])].layer
        alone = uses[id(before)] == 1 and reads[id(call.inputs[0])] == 1 and {id(norm), id(before)} <= top
        linear = _takes_norm(before) and before.activation is keras.activations.linear
        axis = norm.axis if isinstance(norm.axis, int) else norm.axis[0]
        last = axis in (-1, len(call.inputs[0].shape) - 1) and getattr(before, "data_format", None) != "channels_first"
        if alone and linear and last:
            folds.norm_of[id(before)] = norm
            folds.folded.add(id(norm))
            if not before.use_bias:
                folds.without_bias[before.name] = norm
    return folds


def _takes_norm(layer: Any) -> bool:
    """Returns whether a batch norm behind a layer can become part of it; a derived class needs a row of its own."""
    row = kernel_layer(layer)
    return row is not None and row.folds_norm and type(layer) is row.layer


def _affine(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns factor and offset of a batch norm in inference, float64 `[channels]`."""
    mean, variance = (np.asarray(each, np.float64) for each in (norm.moving_mean, norm.moving_variance))
    factor = (np.asarray(norm.gamma, np.float64) if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
    return factor, (np.asarray(norm.beta, np.float64) if norm.center else 0.0) - mean * factor
