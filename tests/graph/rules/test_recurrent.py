import keras
import pytest

from tests.graph.agreement import agrees, sizes

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


def test_what_is_left_alone():
    inputs = keras.Input((4, 5))
    own = layers.Bidirectional(OwnCell(6), name="own")(inputs)
    uneven = layers.Bidirectional(layers.LSTM(6, activation="softmax"), name="mixing")(inputs)
    x = layers.Concatenate()([own, uneven])
    pinned = [("own", "no rule for such layers in two directions"), ("mixing", "activations over all units")]
    agrees(keras.Model(inputs, layers.Dense(3)(layers.Dense(4)(x))), pinned=pinned, power=1e-9)
    images = keras.Input((3, 2, 5, 5))
    x = layers.ConvLSTM2D(4, 3, data_format="channels_first", padding="same", name="first")(images)
    agrees(keras.Model(images, layers.Dense(3)(layers.Flatten()(x))), pinned=[("first", "channels before")], power=None)
