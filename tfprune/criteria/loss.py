"""The loss whose gradients criteria use: the user's, the compiled one, or cross-entropy."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfprune.errors import ConfigError, first_line
from tfprune.graph.calls import functional_graph, model_graph
from tfprune.keras_private import CompileLoss, compiled_loss, compute_output_spec, set_loss_precision

Loss = Callable[[Any, Any], tf.Tensor]
"""From labels and outputs of a batch to a scalar."""


def data_loss(model: keras.Model, loss: Any, y: Any, *, dtype: str | None = None) -> Loss:
    """Returns the loss of a model's outputs, a mean over the batch.

    Args:
        model: A functional or sequential model.
        loss: What `compile(loss=...)` takes. None: the loss that the model is compiled with; if it is not compiled,
            cross-entropy to `y`, which are class numbers or probabilities.
        y: Labels of a batch.
        dtype: Number format of the computation. Default: that of the loss, usually float32.

    Returns:
        A function of labels and outputs. Unlike the model's own, it changes nothing in the model when called.

    Raises:
        ConfigError: No loss is given or compiled, and it cannot be cross-entropy; or the loss does not take the labels.
    """
    weights = None
    if loss is None:
        loss, weights = compiled_loss(model) or (_cross_entropy(model, y), None)
    graph = functional_graph(model)
    function = CompileLoss(loss, weights, output_names=graph.output_names)
    labels = keras.tree.map_structure(lambda leaf: keras.KerasTensor(leaf.shape, leaf.dtype.name), y)
    try:
        compute_output_spec(function, labels, graph.output)  # it builds itself, and the metrics that it keeps
    except (ValueError, TypeError, KeyError, tf.errors.InvalidArgumentError) as error:
        raise ConfigError(f"data: expected labels that the loss takes: {first_line(error)}") from error
    if dtype is not None:
        set_loss_precision(function, dtype)

    def compute(y: Any, outputs: Any) -> tf.Tensor:
        with keras.StatelessScope():
            return function(y, outputs)

    return compute


def _cross_entropy(model: keras.Model, y: Any) -> keras.losses.Loss:
    if len(model.outputs) != 1 or keras.tree.is_nested(y):
        raise ConfigError("loss: expected one for a model with several outputs or labels; give loss= or compile it")
    activation = last_activation(model)
    classes = model.outputs[0].shape[-1]
    if classes == 1 or activation not in ("linear", "softmax"):
        raise ConfigError(
            f"loss: expected one for a model that ends in {activation} of {classes}, as the model is not compiled; "
            "give loss= or compile it"
        )
    from_logits = activation == "linear"
    rank = len(model.outputs[0].shape)
    if y.dtype.is_integer and (y.shape.rank == rank - 1 or y.shape[-1] == 1):
        return keras.losses.SparseCategoricalCrossentropy(from_logits)
    if y.shape.rank != rank or y.shape[-1] != classes or not _probabilities(y):
        raise ConfigError(
            f"loss: expected labels that are class numbers or probabilities of {classes} classes, received shape "
            f"{tuple(y.shape)} ({y.dtype.name}); give loss= or compile the model"
        )
    return keras.losses.CategoricalCrossentropy(from_logits)


def _probabilities(y: tf.Tensor) -> bool:
    values = tf.cast(y, tf.float32)
    sums = tf.reduce_sum(values, -1)
    return bool(tf.reduce_all(values >= 0) & tf.reduce_all(tf.abs(sums - 1) < 1e-3))


def last_activation(model: keras.Model) -> str:
    """Returns the name of the activation that a model ends in."""
    graph = model_graph(model)
    producers = {id(tensor): call for call in graph.calls for tensor in call.outputs}
    call = producers[id(graph.outputs[0])]
    while isinstance(call.layer, keras.layers.Activation) and call.layer.activation is keras.activations.linear:
        call = producers[id(call.inputs[0])]
    if type(call.layer).__name__ in ("Softmax", "Sigmoid"):
        return type(call.layer).__name__.lower()
    return getattr(getattr(call.layer, "activation", None), "__name__", "linear")
