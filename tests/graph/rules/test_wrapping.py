import keras
import numpy as np
import pytest

from tests.graph.agreement import agrees, sizes
from tfprune.graph import complexity

layers = keras.layers


def test_layers_at_each_point_in_time():
    inputs = keras.Input((3, 8, 8, 2))
    x = inputs
    for layer in (
        layers.Conv2D(6, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.SeparableConv2D(8, 3),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(7),
        layers.PReLU(),
    ):
        x = layers.TimeDistributed(layer, name=f"timed_{layer.name}")(x)
    groups = agrees(keras.Model(inputs, layers.Dense(3)(layers.LSTM(5)(x))))
    assert sorted(sizes(groups).values()) == [5, 6, 7, 8]


@pytest.mark.parametrize("steps", [4, None])
def test_costs_of_each_point_in_time(steps):
    inputs = keras.Input((steps, 6))
    model = keras.Model(inputs, layers.TimeDistributed(layers.Dense(5))(inputs))
    assert complexity(model).macs == (steps or 1) * 6 * 5
    assert complexity(model).uncounted == ()


def test_one_layer_at_two_places():
    inputs = keras.Input((4, 6))
    shared = layers.TimeDistributed(layers.Dense(6, "tanh"))
    agrees(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(shared(shared(layers.Dense(6)(inputs)))))))


def test_a_mask_and_an_open_number_of_steps():
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(5, 8, mask_zero=True)(tokens)
    x = layers.TimeDistributed(layers.Dense(6))(x)
    agrees(keras.Model(tokens, layers.Dense(3)(layers.GRU(4)(x))))


class Twice(layers.Layer):
    def call(self, inputs):
        return 2 * inputs

    def compute_output_shape(self, input_shape):
        return input_shape


def test_what_is_left_alone():
    inputs = keras.Input((4, 6))
    x = layers.Dense(8)(inputs)
    norm = layers.TimeDistributed(layers.LayerNormalization(), name="norm")(x)
    small = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu")])
    nested = layers.TimeDistributed(small, name="nested")(inputs)
    own = layers.TimeDistributed(Twice(), name="own")(inputs)
    x = layers.Dense(5)(layers.Concatenate()([norm, nested, own]))
    kinds = {"norm": "LayerNormalization", "nested": "Sequential", "own": "Twice"}
    pinned = [(name, f"no rule for {kind} at each point in time") for name, kind in kinds.items()]
    groups = agrees(keras.Model(inputs, layers.Dense(3)(x)), pinned=pinned)
    assert list(sizes(groups).values()) == [5]


def test_the_wrapped_layer_keeps_its_settings():
    from tfprune.graph import channel_groups, slim

    inputs = keras.Input((4, 6))
    timed = layers.TimeDistributed(layers.Dense(5, "relu", use_bias=False, kernel_regularizer="l2"), name="timed")
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(timed(inputs))))
    groups = channel_groups(model)
    small = slim(model, np.arange(groups.channels) != 2, groups).get_layer("timed").layer
    assert (small.units, small.use_bias) == (4, False)
    assert isinstance(small.kernel_regularizer, keras.regularizers.L2)
