"""Products of tensors with one another and with constants, against NumPy and against Keras with zeroed weights."""

import keras
import numpy as np
import pytest

from tests.graph.agreement import agrees, assert_close, example_inputs, outputs, random_mask, sizes
from tfprune.graph import channel_groups, complexity, slim

layers, ops = keras.layers, keras.ops
RNG = np.random.default_rng(0)


def constant(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def heads(x, count):
    """Channels `[positions, channels]` as `[positions, heads, channels of a head]`."""
    return ops.reshape(x, (-1, x.shape[1], count, x.shape[2] // count))


def attention(query, key, value):
    weights = ops.softmax(ops.einsum("bqc,bkc->bqk", query, key) / np.float32(2.0), axis=-1)
    return ops.einsum("bqk,bkc->bqc", weights, value)


def matmul_attention(query, key, value):
    weights = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))) / np.float32(2.0))
    return ops.matmul(weights, value)


def many_heads(query, key, value):
    query, key, value = (ops.transpose(heads(x, 3), (0, 2, 1, 3)) for x in (query, key, value))
    weights = ops.softmax(query @ ops.swapaxes(key, -1, -2))
    return ops.reshape(ops.transpose(weights @ value, (0, 2, 1, 3)), (-1, 5, 6))


def attention_operation(query, key, value):
    return ops.reshape(ops.nn.dot_product_attention(*(heads(x, 3) for x in (query, key, value))), (-1, 5, 6))


def scaled_attention_operation(query, key, value):
    query, key, value = (heads(x, 2) for x in (query, key, value))
    return ops.reshape(ops.nn.dot_product_attention(query, key, value=value, scale=0.3, is_causal=True), (-1, 5, 6))


PAIRED = {"query": 6, "value": 6}  # a channel of the key goes with that of the query
BY_HEADS = {"query": 2, "value": 2}
ATTENTIONS = {
    "einsum": (attention, PAIRED),
    "matmul": (matmul_attention, PAIRED),
    "many heads": (many_heads, BY_HEADS),
    "operation": (attention_operation, {"query": 2}),
    "scaled operation": (scaled_attention_operation, {"query": 3}),
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_written_by_hand_loses_channels_of_queries_and_keys_and_of_values(name):
    build, expected = ATTENTIONS[name]
    inputs = keras.Input((5, 4))
    query, key, value = (layers.Dense(6, name=part)(inputs) for part in ("query", "key", "value"))
    x = build(query, key, value)
    model = keras.Model(inputs, layers.Dense(2, name="out")(layers.Flatten()(x)))
    groups = agrees(model)
    assert sizes(groups) == expected
    mask = random_mask(groups, 4)
    data = example_inputs(model)
    small = slim(model, mask, groups)
    for part in ("query", "value"):  # Keras with zeros in the weights, except for the scale of the operation
        slot = next(each for each in groups.slots[part] if each.role == "out")
        gone = np.setdiff1d(np.arange(6), slot.kept(mask))
        for weight in (model.get_layer(part).kernel, model.get_layer(part).bias):
            values = np.asarray(weight).copy()
            values[..., gone] = 0
            weight.assign(values)
    assert_close(outputs(small, data), outputs(model, data), 1e-5)


PRODUCTS = {
    "elementwise": (lambda x: ops.einsum("btc,btc->btc", x, x), 6),
    "vector": (lambda x: ops.einsum("btc,c->btc", x, constant(6)), 6),
    "mixing": (lambda x: ops.einsum("btc,cd->btd", x, constant(6, 3)), 6),
    "mixing_first": (lambda x: ops.einsum("cd,btc->btd", constant(6, 3), x), 6),
    "implicit": (lambda x: ops.einsum("abc,cd", x, constant(6, 3)), 6),
    "ellipsis": (lambda x: ops.einsum("...c,cd->...d", x, constant(6, 3)), 6),
    "time": (lambda x: ops.einsum("btc,ts->bsc", x, constant(5, 4)), 6),
    "scores": (lambda x: ops.einsum("btc,bsc->bts", x, x), 6),
    "three": (lambda x: ops.einsum("btc,c,cd->btd", x, constant(6), constant(6, 2)), 6),
    "matmul": (lambda x: ops.matmul(x, constant(6, 3)), 6),
    "matmul_vector": (lambda x: ops.matmul(x, constant(6)), 6),
    "matmul_left": (lambda x: ops.matmul(constant(1, 4, 5), x), 6),
    "matmul_tensor": (lambda x: x @ ops.convert_to_tensor(constant(6, 3)), 6),
    "matmul_self": (lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))), 6),
    "matmul_keyword": (lambda x: ops.matmul(x1=x, x2=constant(6, 3)), 6),
    "dot": (lambda x: ops.dot(x, constant(6, 3)), 6),
    "dot_vector": (lambda x: ops.dot(x, constant(6)), 6),
    "inner": (lambda x: ops.inner(x, constant(3, 6)), 6),
    "tensordot": (lambda x: ops.tensordot(x, constant(6, 3), axes=1), 6),
    "tensordot_axes": (lambda x: ops.tensordot(x, constant(3, 6), axes=[[2], [1]]), 6),
    "tensordot_two": (lambda x: ops.tensordot(x, constant(5, 6, 3), axes=([1, 2], [0, 1])), 6),
    "normalize": (lambda x: ops.normalize(x, axis=-1), 6),
    "after glu": (lambda x: ops.einsum("btc,cd->btd", ops.glu(x), constant(3, 2)), 3),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name):
    build, expected = PRODUCTS[name]
    inputs = keras.Input((5, 4))
    x = build(layers.Dense(6, name="first", activation="sigmoid")(inputs))
    x = layers.Flatten()(x)
    groups = agrees(keras.Model(inputs, layers.Dense(2)(x)))
    assert sizes(groups) == {"first": expected}


def test_a_product_with_a_constant_sums_what_is_left():
    """By hand: three of four channels, each times its row of the constant."""
    inputs = keras.Input((4,))
    table = constant(4, 3)
    first = layers.Dense(4, name="first", activation="sigmoid")
    out = layers.Dense(2, name="out")
    model = keras.Model(inputs, out(ops.matmul(first(inputs), table)))
    groups = channel_groups(model)
    small = slim(model, np.array([True, False, True, True]), groups)
    x = constant(7, 4)
    middle = 1 / (1 + np.exp(-(x @ np.asarray(first.kernel) + np.asarray(first.bias))))
    expected = middle[:, [0, 2, 3]] @ table[[0, 2, 3]] @ np.asarray(out.kernel) + np.asarray(out.bias)
    np.testing.assert_allclose(small(x), expected, rtol=1e-5, atol=1e-5)


def test_convolutions_with_a_fixed_kernel_lose_what_they_read():
    inputs = keras.Input((6, 6, 3))
    first = layers.Conv2D(6, 3, name="first")
    x = ops.conv(first(inputs), constant(2, 2, 6, 4), padding="same")
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    groups = agrees(model)
    assert sizes(groups) == {"first": 6}
    small, data = slim(model, np.arange(6) % 3 > 0, groups), example_inputs(model)
    first.set_weights([value * (np.arange(6) % 3 > 0) for value in first.get_weights()])
    assert_close(outputs(small, data), outputs(model, data), 1e-5)


def test_products_cost_their_multiply_adds():
    inputs = keras.Input((5, 4))
    x = layers.Dense(6)(inputs)
    x = ops.einsum("btc,bsc->bts", x, x)  # 5 * 5 * 6
    x = ops.matmul(x, constant(5, 3))  # 5 * 5 * 3
    cost = complexity(keras.Model(inputs, x))
    assert {row.kind: row.macs for row in cost.layers} == {"Dense": 5 * 4 * 6, "Einsum": 5 * 5 * 6, "Matmul": 75}
    images = keras.Input((6, 6, 3))
    y = ops.conv(images, constant(3, 3, 3, 4))  # 4 * 4 * 9 * 3 * 4
    y = ops.depthwise_conv(y, constant(2, 2, 4, 2))  # 3 * 3 * 4 * 4 * 2
    cost = complexity(keras.Model(images, y))
    assert [row.macs for row in cost.layers] == [16 * 9 * 12, 9 * 4 * 8]


@pytest.mark.parametrize(
    "build",
    [
        lambda x: ops.einsum("btt->bt", x),
        lambda x: ops.einsum("btc,atc->ba", x, x),
        lambda x: ops.tensordot(x, x, axes=[[1, 2], [1, 2]]),
    ],
    ids=["diagonal", "batch with batch", "tensordot of batches"],
)
def test_products_that_mix_examples_are_left_alone(build):
    inputs = keras.Input((5, 4))
    x = build(layers.Dense(5, name="first")(inputs))
    groups = channel_groups(keras.Model(inputs, layers.Dense(2)(ops.reshape(x, (-1, 5)))))
    assert len(groups) == 0
    assert any("no rule for products" in text for text in groups.pinned)


def test_masks_of_embeddings_hold_no_channels():
    """Keras joins the masks of joined sequences by `zeros_like`, which is as wide as the embeddings."""
    for axis, expected in ((-1, {"a": 6, "b": 6}), (1, {"a": 6})):
        inputs = [keras.Input((5,), dtype="int32"), keras.Input((5,), dtype="int32")]
        parts = [layers.Embedding(4, 6, mask_zero=True, name=name)(x) for name, x in zip("ab", inputs, strict=True)]
        x = layers.Concatenate(axis=axis)(parts)
        groups = agrees(keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x))))
        assert sizes(groups) == expected


def test_a_mask_made_from_some_channels_holds_none():
    inputs = keras.Input((5, 4))
    x = layers.Dense(6, name="first")(inputs)
    ones = ops.ones_like(x[..., :2])
    x = x * ops.max(ones, axis=-1, keepdims=True)
    assert sizes(agrees(keras.Model(inputs, layers.Dense(2)(x)))) == {"first": 6}
