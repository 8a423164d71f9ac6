"""Multi-head attention: heads, and the channels within a head."""

from typing import Any

import keras

from tfprune.graph.calls import Call
from tfprune.graph.labels import Labels
from tfprune.graph.rules.axes import positions
from tfprune.graph.rules.registry import rule


@rule(keras.layers.MultiHeadAttention, several=True)
def _multi_head_attention(labels: Labels, call: Call) -> None:
    """Three kinds of channels go out: heads, channels that query and key share, channels of the values.

    Keras divides by the root of the channels in a key, so when some go the query is scaled to make up for it.
    """
    layer: Any = call.layer
    query, value, key, plain = _operands(call)
    if not plain:
        labels.leave_alone(call, "no rule for gates, given masks, returned scores, or attention over several axes")
        return
    labels.pin(*(labels.of(tensor)[0] for tensor in (query, value, key)))  # positions attend to one another
    heads = labels.make(call, layer._num_heads, "heads", layer._key_dim)
    keys = labels.make(call, layer._key_dim, "keys", layer._num_heads)
    values = labels.make(call, layer._value_dim, "values", layer._num_heads)
    made = labels.make(call, layer._output_dense.kernel.shape[-1])
    for part, tensor, inner in (("query", query, keys), ("key", key, keys), ("value", value, values)):
        role = "in" if part == "key" else "out"
        labels.slot(call, f"_{part}_dense.kernel", -3, labels.of(tensor)[-1], "in")
        for weight in ("kernel", "bias"):
            labels.slot(call, f"_{part}_dense.{weight}", -2, heads, "out")
            labels.slot(call, f"_{part}_dense.{weight}", -1, inner, role)
        labels.cost(call, positions(tensor.shape[1:-1]) * _read(labels, tensor), labels.of(tensor)[-1], heads, inner)
    for weight in ("kernel", "bias"):
        labels.scale(call, f"_query_dense.{weight}", keys)
    labels.slot(call, "_output_dense.kernel", -3, heads, "in")
    labels.slot(call, "_output_dense.kernel", -2, values, "in")
    labels.slot(call, "_output_dense.kernel", -1, made, "out")
    labels.slot(call, "_output_dense.bias", -1, made, "out")
    length, context = positions(query.shape[1:-1]), positions(key.shape[1:-1])
    labels.cost(call, length * context, heads, keys)
    labels.cost(call, length * context, heads, values)
    labels.cost(call, length, heads, values, made)
    for setting, vector in (("num_heads", heads), ("key_dim", keys), ("value_dim", values), ("output_shape", made)):
        labels.edit(call, setting, vector)
    labels.put(call.outputs[0], (None, made))


def _operands(call: Call) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor, bool]:
    """Query, value and key, and whether the call is of the plain kind."""
    arguments, named = call.arguments({id(tensor): tensor for tensor in call.inputs})
    given = dict(zip(("query", "value", "key"), arguments, strict=False)) | named
    query, value = given["query"], given["value"]
    key = given.get("key")
    key = value if key is None else key
    others = [name for name, each in given.items() if name not in _OPERANDS and each is not None and each is not False]
    plain = not set(others) - {"training", "use_causal_mask"} and len(arguments) <= 3
    three = all(len(tensor.shape) == 3 for tensor in (query, value, key))
    layer: Any = call.layer
    vector = layer._output_shape is None or len(layer._output_shape) == 1
    return query, value, key, plain and three and vector and not layer._use_gate


_OPERANDS = ("query", "value", "key")


def _read(labels: Labels, tensor: keras.KerasTensor) -> int:
    return 1 if labels.of(tensor)[-1] is not None else tensor.shape[-1]
