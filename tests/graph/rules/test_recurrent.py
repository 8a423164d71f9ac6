import keras
import numpy as np
import pytest

from tests.graph.agreement import agrees, sizes
from tfprune.graph import complexity

layers = keras.layers
CELLS = [layers.SimpleRNN, layers.GRU, layers.LSTM]


@pytest.mark.parametrize("merge", ["concat", "sum", "ave", "mul"])
@pytest.mark.parametrize("cell", CELLS)
def test_two_directions(cell, merge):
    inputs = keras.Input((4, 5))
    x = layers.Bidirectional(cell(6, return_sequences=True), merge_mode=merge, name="first")(layers.Dense(7)(inputs))
    x = layers.Bidirectional(cell(5), merge_mode=merge, name="second")(x)
    groups = agrees(keras.Model(inputs, layers.Dense(3)(x)))
    assert sorted(sizes(groups).values()) == [5, 6, 7]


def test_directions_of_their_own_and_states():
    inputs = keras.Input((4, 5))
    forward, backward = layers.LSTM(6, return_state=True), layers.LSTM(6, return_state=True, go_backwards=True)
    x, *states = layers.Bidirectional(forward, backward_layer=backward, merge_mode="concat")(inputs)
    x = layers.Concatenate()([layers.Dense(4)(each) for each in (x, *states)])
    agrees(keras.Model(inputs, layers.Dense(3)(x)))
    first, second = layers.Bidirectional(layers.GRU(6), merge_mode=None)(inputs)
    agrees(keras.Model(inputs, layers.Dense(3)(layers.Dense(4)(first) + layers.Dense(4)(second))))


def test_directions_of_two_kinds_and_masks():
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(5, 8, mask_zero=True)(tokens)
    x = layers.Bidirectional(layers.LSTM(6), backward_layer=layers.GRU(6, go_backwards=True))(x)
    agrees(keras.Model(tokens, layers.Dense(3)(x)))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolving_states(rank):
    kind = getattr(layers, f"ConvLSTM{rank}D")
    inputs = keras.Input((3, *[5] * rank, 2))
    x = kind(6, 3, return_sequences=True, padding="same")(inputs)
    x = kind(5, 3, strides=2)(x)
    agrees(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))))


@keras.saving.register_keras_serializable("tests")
class OwnCell(layers.LSTM):
    def call(self, *args, **kwargs):
        return super().call(*args, **kwargs) * 2


def test_recurrent_what_is_left_alone():
    inputs = keras.Input((4, 5))
    own = layers.Bidirectional(OwnCell(6), name="own")(inputs)
    uneven = layers.Bidirectional(layers.LSTM(6, activation="softmax"), name="mixing")(inputs)
    x = layers.Concatenate()([own, uneven])
    pinned = [("own", "no rule for such layers in two directions"), ("mixing", "activations over all channels")]
    agrees(keras.Model(inputs, layers.Dense(3)(layers.Dense(4)(x))), pinned=pinned, power=1e-9)
    images = keras.Input((3, 2, 5, 5))
    x = layers.ConvLSTM2D(4, 3, data_format="channels_first", padding="same", name="first")(images)
    agrees(keras.Model(images, layers.Dense(3)(layers.Flatten()(x))), pinned=[("first", "channels before")], power=None)


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


def test_wrapping_what_is_left_alone():
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
