"""Rules for attention: heads, the channels within a head, and the channels that queries and keys are compared by."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Labels, Vector
from tfprune.graph.rules.lookup import MASKED, extent, named_arguments, pin_all_but, positions, rule
from tfprune.keras_private import ATTENTION_PARTS, attention_sizes, has_gate, lambda_output_shape

layers = keras.layers
_OUTPUT = ATTENTION_PARTS["output"]
_COMPARED = "queries and keys are compared by them, and one of both has fixed channels"


@rule(layers.MultiHeadAttention, several=True)
def _multi_head_attention(labels: Labels, call: Call) -> None:
    """Produces three kinds of channels besides its outputs: heads, and in each head those of keys, those of values."""
    layer: Any = call.layer
    query, value, key = _operands(labels, call)
    shape = lambda_output_shape(layer)
    if any(len(tensor.shape) != 3 for tensor in (query, value, key)) or not (shape is None or len(shape) == 1):
        labels.leave_alone(call, "no rule for attention over several axes")
        return
    count, key_dim, value_dim = attention_sizes(layer)
    heads = labels.make(call, count, "heads")
    keys = labels.make(call, key_dim, "keys")
    values = labels.make(call, value_dim, "values")
    made = labels.make(call, getattr(layer, _OUTPUT).kernel.shape[-1])
    for part, tensor, inner in (("query", query, keys), ("key", key, keys), ("value", value, values)):
        _projected(labels, call, part, tensor, heads, inner)
    if has_gate(layer):
        _projected(labels, call, "gate", query, heads, values)
    labels.slot(call, f"{_OUTPUT}.kernel", -3, heads, "in")
    labels.slot(call, f"{_OUTPUT}.kernel", -2, values, "in")
    labels.slot(call, f"{_OUTPUT}.kernel", -1, made, "out")
    labels.slot(call, f"{_OUTPUT}.bias", -1, made, "out")
    length, context = positions(query.shape[1:-1]), positions(key.shape[1:-1])
    labels.cost(call, length * context, heads, keys)
    labels.cost(call, length * context, heads, values)
    labels.cost(call, length, heads, values, made)
    for setting, vector in (("num_heads", heads), ("key_dim", keys), ("value_dim", values), ("output_shape", made)):
        labels.edit(call, setting, vector)
    _pin_masked_heads(labels, call, heads)
    _put_outputs(labels, call, made, heads)


@rule(layers.GroupQueryAttention, several=True)
def _group_query_attention(labels: Labels, call: Call) -> None:
    """Produces two kinds of channels: key heads with all query heads that read them, and channels within a head.

    Query, key and value share the latter. Keras requires queries as wide as values, and the output is as wide.
    """
    layer: Any = call.layer
    query, value, key = _operands(labels, call)
    heads = labels.make(call, layer.num_key_value_heads, "heads")
    asking = np.repeat(heads, layer.num_repeats)
    inner = labels.make(call, layer.head_dim, "keys")
    for part, tensor, read_by in (("query", query, asking), ("key", key, heads), ("value", value, heads)):
        _projected(labels, call, part, tensor, read_by, inner)
    if has_gate(layer):
        _projected(labels, call, "gate", query, asking, inner)
    made, valued = labels.of(query)[-1], labels.of(value)[-1]
    if made is None or valued is None:
        labels.pin(made, valued, reason="queries and values must stay as wide, and one of them has fixed channels")
    else:
        labels.unite(made, valued)
    labels.slot(call, f"{_OUTPUT}.kernel", -3, asking, "in")
    labels.slot(call, f"{_OUTPUT}.kernel", -2, inner, "in")
    for weight in ("kernel", "bias"):
        labels.slot(call, f"{_OUTPUT}.{weight}", -1, made, "pass")
    length, context = positions(query.shape[1:-1]), positions(key.shape[1:-1])
    labels.cost(call, 2 * length * context, asking, inner)
    labels.cost(call, length * (1 if made is not None else query.shape[-1]), asking, inner, made)
    for setting, vector in (("num_query_heads", asking), ("num_key_value_heads", heads), ("head_dim", inner)):
        labels.edit(call, setting, vector)
    _pin_masked_heads(labels, call, asking)
    _put_outputs(labels, call, made, asking)


def _operands(labels: Labels, call: Call) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor]:
    """Returns query, value and key; their positions, and those of masks, are pinned."""
    given = named_arguments(call)
    query, value = given["query"], given["value"]
    key = value if given.get("key") is None else given["key"]
    for tensor in (query, value, key):
        pin_all_but(labels, labels.of(tensor), len(tensor.shape) - 2)
    _pin_masks(labels, (given.get(name) for name in ("query_mask", "value_mask", "key_mask", "attention_mask")))
    return query, value, key


def _pin_masks(labels: Labels, masks: Iterable[Any]) -> None:
    for mask in masks:
        if isinstance(mask, keras.KerasTensor):
            labels.pin(*labels.of(mask), reason=MASKED)


def _pin_masked_heads(labels: Labels, call: Call, heads: np.ndarray) -> None:
    given: Any = named_arguments(call).get("attention_mask")
    shape = np.shape(given)
    if len(shape) == 4 and shape[1] != 1:
        labels.pin(heads, reason="its mask differs between heads")


def _put_outputs(labels: Labels, call: Call, made: Vector, heads: np.ndarray) -> None:
    """Sets the labels of the output, and of scores `[batch, heads, queries, keys]` if they are returned."""
    output, *scores = call.outputs
    labels.put(output, (None, made))
    for tensor in scores:
        labels.put(tensor, (heads, None, None))


def _projected(
    labels: Labels, call: Call, part: str, tensor: keras.KerasTensor, heads: np.ndarray, inner: np.ndarray
) -> None:
    """Notes the weights that project a tensor to a `part` (query, key or value), `[in, heads, channels of a head]`.

    The key counts as reader of the channels of a head: without its weights, they add nothing to the products with the
    query. Keras divides these products by the root of the number of channels, so the query is rescaled.
    """
    read = labels.of(tensor)[-1]
    labels.slot(call, f"{ATTENTION_PARTS[part]}.kernel", -3, read, "in")
    for weight in ("kernel", "bias"):
        labels.slot(call, f"{ATTENTION_PARTS[part]}.{weight}", -2, heads, "out")
        labels.slot(call, f"{ATTENTION_PARTS[part]}.{weight}", -1, inner, "in" if part == "key" else "out")
        if part == "query":
            labels.scale(call, f"{ATTENTION_PARTS[part]}.{weight}", inner)
    width = 1 if read is not None else tensor.shape[-1]
    labels.cost(call, positions(tensor.shape[1:-1]) * width, read, heads, inner)


@rule(layers.Attention, layers.AdditiveAttention, several=True)
def _attention(labels: Labels, call: Call) -> None:
    """Compares queries and keys channel by channel and sums: without a channel, the sum lacks what it adds."""
    layer: Any = call.layer
    given = named_arguments(call)
    query, value, *keys = given["inputs"]
    key = keys[0] if keys else value
    for tensor in (query, value, key):
        pin_all_but(labels, labels.of(tensor), len(tensor.shape) - 2)
    _pin_masks(labels, keras.tree.flatten(given.get("mask")))
    compared, valued = _compared(labels, [labels.of(query)[-1], labels.of(key)[-1]]), labels.of(value)[-1]
    if isinstance(layer, layers.AdditiveAttention):
        labels.slot(call, "scale", -1, compared, "in")
    pairs = positions(query.shape[1:-1]) * positions(key.shape[-2:-1])
    for vector, width in ((compared, query.shape[-1]), (valued, value.shape[-1])):
        labels.cost(call, pairs * extent((vector,), (width,)), vector)
    labels.put(call.outputs[0], (*(None,) * (len(query.shape) - 2), valued))
    for scores in call.outputs[1:]:
        labels.put(scores, (None,) * (len(scores.shape) - 1))


@rule(layers.Dot, several=True)
def _dot(labels: Labels, call: Call) -> None:
    """Sums the products of two tensors along an axis of each; the output has the other axes of both."""
    layer: Any = call.layer
    tensors = call.inputs if len(call.inputs) > 1 else call.inputs * 2
    given = (layer.axes, layer.axes) if isinstance(layer.axes, int) else layer.axes
    summed = [axis % len(tensor.shape) - 1 for axis, tensor in zip(given, tensors, strict=True)]
    axes = [list(labels.of(tensor)) for tensor in tensors]
    vector = _compared(labels, [each.pop(axis) for each, axis in zip(axes, summed, strict=True)])
    left = [vector for each in axes for vector in each]
    sizes = [size for tensor, axis in zip(tensors, summed, strict=True) for size in _without(tensor.shape[1:], axis)]
    width = tensors[0].shape[1 + summed[0]]
    labels.cost(call, extent((vector, *left), (width, *sizes)), vector, *left)
    labels.put(call.outputs[0], left or (None,))


def _without(sizes: Sequence[int | None], axis: int) -> list[int | None]:
    return [size for index, size in enumerate(sizes) if index != axis]


def _compared(labels: Labels, vectors: Sequence[Vector]) -> Vector:
    """Unites the labels of two axes that are multiplied with one another and summed over."""
    first, second = vectors
    if first is None or second is None:
        labels.pin(first, second, reason=_COMPARED)
        return None
    labels.unite(first, second)
    return first
