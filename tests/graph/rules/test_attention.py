import keras
import numpy as np
import pytest

from tests.graph.agreement import agrees, assert_close, example_inputs, is_ordinary, outputs, sizes, zero_channel
from tfprune.graph import channel_groups, complexity, slim
from tfprune.graph.traced_cost import traced_flops

layers = keras.layers


def model_of(attention, causal=False, bias=True):
    inputs = keras.Input((5, 6))
    x = layers.Dense(8)(inputs)
    y = attention(use_bias=bias, name="attention")(x, x, use_causal_mask=causal)
    return keras.Model(inputs, layers.Dense(3)(layers.Dense(7, "relu")(layers.Add()([x, y]))))


def grouped(**settings):
    return layers.GroupQueryAttention(6, 6, 3, **settings)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_heads_that_share_keys(causal, bias):
    groups = agrees(model_of(grouped, causal, bias))
    assert sorted(sizes(groups).values()) == [3, 6, 7, 8]


def test_heads_go_together():
    model = model_of(grouped)
    groups = channel_groups(model)
    heads = next(group for group in groups if "heads" in group.name)
    mask = np.ones(groups.channels, bool)
    mask[heads.start + 1] = False
    layer = slim(model, mask, groups).get_layer("attention")
    assert (layer.num_query_heads, layer.num_key_value_heads, layer.head_dim) == (4, 2, 6)


def test_keys_of_another_sequence():
    inputs, other = keras.Input((5, 6)), keras.Input((7, 4))
    x = grouped()(layers.Dense(8)(inputs), layers.Dense(8)(other), layers.Dense(9)(other))
    groups = agrees(keras.Model([inputs, other], layers.Dense(3)(x)))
    assert sorted(sizes(groups).values()) == [3, 6, 8, 9]  # Keras wants queries as wide as values
    x = layers.GroupQueryAttention(6, 6, 3)(inputs, layers.Dense(6)(other))
    groups = agrees(keras.Model([inputs, other], layers.Dense(3)(x)))
    assert sorted(sizes(groups).values()) == [3, 6]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Permute drops a mask
@pytest.mark.parametrize(
    "attention", [layers.MultiHeadAttention(3, 4, use_gate=True), layers.GroupQueryAttention(4, 6, 3, use_gate=True)]
)
def test_gates_masks_and_scores(attention, tmp_path):
    """Scores have an axis of heads, which a convolution then reads."""
    attention = type(attention).from_config(attention.get_config() | {"name": "attention"})
    inputs, other, mask = keras.Input((5, 6)), keras.Input((7, 4)), keras.Input((5, 7), dtype="bool")
    x, y = layers.Dense(8, name="query")(inputs), layers.Dense(8, name="value")(other)
    out, scores = attention(x, y, attention_mask=mask, return_attention_scores=True)
    read = layers.Conv2D(2, 1)(keras.ops.transpose(scores, (0, 2, 3, 1)))
    model = keras.Model([inputs, other, mask], [layers.Dense(3)(layers.Add()([out, x])), read])
    groups = agrees(model)
    assert {"attention.heads", "attention.keys"} <= set(sizes(groups))
    is_ordinary(model, groups, tmp_path)
    assert complexity(model).macs == sum(traced_flops(call) for call in groups.calls)


def test_masks_that_differ_between_heads_hold_them():
    inputs = keras.Input((5, 6))
    mask = keras.ops.convert_to_tensor(np.random.default_rng(0).random((1, 3, 5, 5)) > 0.3)
    x = layers.MultiHeadAttention(3, 4, name="attention")(inputs, inputs, attention_mask=mask)
    pinned = [("attention.heads", "its mask differs between heads")]
    groups = agrees(keras.Model(inputs, layers.Dense(3)(x)), pinned=pinned)
    assert sizes(groups) == {"attention.keys": 4, "attention.values": 4, "attention": 6}


def test_masks_of_embeddings():
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(5, 8, mask_zero=True, name="embedding")(tokens)
    x = layers.Add()([x, layers.MultiHeadAttention(3, 4, name="attention")(x, x, use_causal_mask=True)])
    x = layers.Attention(name="last")([layers.Dense(7, name="query")(x), layers.Dense(7)(x)], use_causal_mask=True)
    groups = agrees(keras.Model(tokens, layers.Dense(3)(layers.GRU(4, name="gru")(x))))
    heads = {"attention.heads": 3, "attention.keys": 4, "attention.values": 4}
    assert sizes(groups) == {"embedding": 8, "query": 7, "gru": 4} | heads


def test_attention_over_several_axes_is_left_alone():
    inputs = keras.Input((3, 4, 6))
    x = layers.MultiHeadAttention(3, 4, name="attention")(inputs, inputs)
    pinned = [("attention", "no rule for attention over several axes")]
    model = keras.Model(inputs, layers.Dense(3)(layers.Dense(5, name="after")(x)))
    assert sizes(agrees(model, pinned=pinned)) == {"after": 5}


def own_weights(**settings):
    return lambda: layers.Attention(**settings)


COMPARING = {
    "dot": own_weights(),
    "scaled": own_weights(use_scale=True),
    "tanh": own_weights(score_mode="concat", use_scale=True),
    "additive": layers.AdditiveAttention,
    "additive without weights": lambda: layers.AdditiveAttention(use_scale=False),
}


def compared(kind, given=3):
    inputs, other = keras.Input((5, 6)), keras.Input((7, 4))
    query, key = layers.Dense(8, "tanh", name="query")(inputs), layers.Dense(8, "tanh", name="key")(other)
    value = layers.Dense(9, name="value")(other)
    x = kind()([query, value, key] if given == 3 else [query, key])
    return keras.Model([inputs, other], layers.Dense(3)(x))


@pytest.mark.parametrize("kind", COMPARING.values(), ids=COMPARING)
def test_queries_and_keys_are_compared_by_fewer_channels(kind, tmp_path):
    model = compared(kind)
    groups = agrees(model, power=1e-4)
    assert [(group.name, group.size, group.layers) for group in groups] == [
        ("query", 8, ("query", "key")),
        ("value", 9, ("value",)),
    ]
    is_ordinary(model, groups, tmp_path)
    assert sizes(agrees(compared(kind, given=2), power=1e-4)) == {"query": 8}


@pytest.mark.parametrize("kind", COMPARING.values(), ids=COMPARING)
def test_what_is_compared_by_fewer_channels_is_what_zeros_give(kind):
    """A channel that is 0 in queries and keys adds nothing to a product, nor to a sum of tanh."""
    model = compared(kind)
    small = slim(model, np.arange(17) != 3)
    for name in ("query", "key"):
        zero_channel(model.get_layer(name), 3)
    inputs = example_inputs(model)
    assert_close(outputs(small, inputs), outputs(model, inputs), 1e-5)


def test_costs_of_comparing():
    assert complexity(compared(layers.Attention)).macs == 5 * 6 * 8 + 7 * 4 * (8 + 9) + 35 * (8 + 9) + 5 * 9 * 3


def test_scores_are_returned_whole():
    inputs = keras.Input((5, 6))
    x, scores = layers.Attention()([layers.Dense(8)(inputs), layers.Dense(8)(inputs)], return_attention_scores=True)
    agrees(keras.Model(inputs, layers.Dense(3)(layers.Concatenate()([x, scores]))))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("axes", "sizes_left"), [(2, ()), ((2, 2), ()), (-1, ()), ((1, 1), (8, 7))])
def test_dot_products(axes, sizes_left, normalize):
    inputs = keras.Input((5, 6))
    first = layers.Dense(8, "tanh", name="first")(inputs)
    second = layers.Dense(7 if sizes_left else 8, "tanh", name="second")(inputs)
    x = layers.Dot(axes, normalize=normalize)([first, second])
    x = layers.EinsumDense("abc,bcd->ad", output_shape=3)(x)
    groups = agrees(keras.Model(inputs, x), power=1e-4)
    assert sizes(groups) == ({"first": 8, "second": 7} if sizes_left else {"first": 8})


def test_dot_products_of_vectors():
    inputs, fixed = keras.Input((6,)), keras.Input((8,))
    first, second = layers.Dense(8, "tanh", name="first")(inputs), layers.Dense(8, "tanh", name="second")(inputs)
    pinned = [("third", "one of both has fixed channels")]
    held = layers.Dot(1)([layers.Dense(8, name="third")(inputs), fixed])
    model = keras.Model([inputs, fixed], [layers.Dot(1, normalize=True)([first, second]), held])
    assert sizes(agrees(model, pinned=pinned)) == {"first": 8}
    assert complexity(model).macs == 3 * 6 * 8 + 2 * 8
