"""Rules for multi-head and grouped-query attention: heads, and the channels within a head."""

from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Labels
from tfprune.graph.rules.lookup import POSITIONS, positions, rule
from tfprune.keras_private import ATTENTION_PARTS, attention_sizes, has_gate, lambda_output_shape

_REASON = "no rule for gates, given masks, returned scores, or attention over several axes"
_OPERANDS = ("query", "value", "key")
_OUTPUT = ATTENTION_PARTS["output"]


@rule(keras.layers.MultiHeadAttention, several=True)
def _multi_head_attention(labels: Labels, call: Call) -> None:
    """Produces three kinds of channels besides its outputs: heads, channels of queries and keys, channels of values."""
    layer: Any = call.layer
    query, value, key, plain = _operands(call)
    if not plain:
        labels.leave_alone(call, _REASON)
        return
    labels.pin(*(labels.of(tensor)[0] for tensor in (query, value, key)), reason=POSITIONS)
    count, key_dim, value_dim = attention_sizes(layer)
    heads = labels.make(call, count, "heads", key_dim)
    keys = labels.make(call, key_dim, "keys", count)
    values = labels.make(call, value_dim, "values", count)
    made = labels.make(call, getattr(layer, _OUTPUT).kernel.shape[-1])
    _projected(labels, call, "query", query, heads, keys)
    _projected(labels, call, "key", key, heads, keys)
    _projected(labels, call, "value", value, heads, values)
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
    labels.put(call.outputs[0], (None, made))


@rule(keras.layers.GroupQueryAttention, several=True)
def _group_query_attention(labels: Labels, call: Call) -> None:
    """Produces two kinds of channels: key heads with all query heads that read them, and channels within a head.

    Query, key and value share the latter. Keras requires queries as wide as values, and the output is as wide.
    """
    layer: Any = call.layer
    query, value, key, plain = _operands(call)
    if not plain:
        labels.leave_alone(call, _REASON)
        return
    labels.pin(*(labels.of(tensor)[0] for tensor in (query, value, key)), reason=POSITIONS)
    heads = labels.make(call, layer.num_key_value_heads, "heads", layer.num_repeats * layer.head_dim)
    asking = np.repeat(heads, layer.num_repeats)
    inner = labels.make(call, layer.head_dim, "keys", layer.num_query_heads)
    _projected(labels, call, "query", query, asking, inner)
    _projected(labels, call, "key", key, heads, inner)
    _projected(labels, call, "value", value, heads, inner)
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
    labels.put(call.outputs[0], (None, made))


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


def _operands(call: Call) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor, bool]:
    """Returns query, value and key, and whether the call is of the plain kind."""
    arguments, named = call.arguments({id(tensor): tensor for tensor in call.inputs})
    given = dict(zip(("query", "value", "key"), arguments, strict=False)) | named
    query, value = given["query"], given["value"]
    key = given.get("key")
    key = value if key is None else key
    others = [name for name, each in given.items() if name not in _OPERANDS and each is not None and each is not False]
    plain = not set(others) - {"training", "use_causal_mask"} and len(arguments) <= 3
    three = all(len(tensor.shape) == 3 for tensor in (query, value, key))
    layer: Any = call.layer
    shape = lambda_output_shape(layer)
    vector = shape is None or len(shape) == 1
    return query, value, key, plain and three and vector and not has_gate(layer)
