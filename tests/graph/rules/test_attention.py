import keras
import numpy as np
import pytest

from tests.graph.agreement import agrees, sizes
from tfprune.graph import channel_groups, slim

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


def test_gates_are_left_alone():
    inputs = keras.Input((5, 6))
    x = layers.GroupQueryAttention(4, 4, 2, use_gate=True, name="gated")(inputs, inputs)
    agrees(keras.Model(inputs, layers.Dense(3)(layers.Dense(7)(x))), pinned=[("gated", "no rule for gates")])
