import keras
import numpy as np
import pytest

from tests.graph.agreement import agrees, assert_close, example_inputs, is_ordinary, outputs, sizes
from tfprune.graph import channel_groups, complexity, slim
from tfprune.graph.traced_cost import traced_flops

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
    own = layers.Bidirectional(OwnCell(6), name="own")(layers.Dense(5, name="read")(inputs))
    mixing = layers.Bidirectional(layers.LSTM(6, activation="softmax"), name="mixing")(
        layers.Dense(4, name="free")(inputs)
    )
    x = layers.Concatenate()([own, mixing])
    pinned = [("own", "no rule for such layers in two directions"), ("mixing", "its activation softmax mixes them")]
    groups = agrees(keras.Model(inputs, layers.Dense(3)(layers.Dense(4, name="last")(x))), pinned=pinned)
    assert sizes(groups) == {"free": 4, "last": 4}


def test_states_with_channels_first():
    images = keras.Input((3, 2, 5, 5))
    x = layers.ConvLSTM2D(4, 3, data_format="channels_first", padding="same", return_sequences=True)(images)
    x = layers.ConvLSTM2D(6, 3, data_format="channels_first")(x)
    groups = agrees(keras.Model(images, layers.Dense(3)(layers.Flatten(data_format="channels_first")(x))))
    assert sorted(sizes(groups).values()) == [4, 6]


def encoder_and_decoder(kind, units=10):
    """The textbook seq2seq model: the decoder begins with the encoder's states."""
    first, second = keras.Input((7, 5), name="source"), keras.Input((6, 4), name="target")
    _, *states = kind(units, return_state=True, name="encoder")(first)
    x = kind(units, return_sequences=True, name="decoder")(second, initial_state=states)
    return keras.Model([first, second], layers.Dense(3)(x))


@pytest.mark.parametrize("kind", CELLS)
def test_an_encoder_starts_a_decoder(kind, tmp_path):
    model = encoder_and_decoder(kind)
    groups = agrees(model)
    assert [(group.name, group.size, group.layers) for group in groups] == [("encoder", 10, ("encoder", "decoder"))]
    is_ordinary(model, groups, tmp_path)


@pytest.mark.parametrize("kind", CELLS)
def test_a_decoder_without_a_unit_is_one_whose_unit_is_always_zero(kind):
    """Without kernels and bias, a unit that begins at 0 stays at 0 in every kind of cell."""
    model = encoder_and_decoder(kind)
    groups = channel_groups(model)
    removed = [1, 4, 8]
    small = slim(model, ~np.isin(np.arange(10), removed), groups)
    for name in ("encoder", "decoder"):
        cell = model.get_layer(name).cell
        for weight in (cell.kernel, cell.recurrent_kernel, cell.bias):
            array = np.array(np.asarray(weight))
            array.reshape(*array.shape[:-1], -1, 10)[..., removed] = 0
            weight.assign(array)
    inputs = example_inputs(model)
    assert_close(outputs(small, inputs), outputs(model, inputs), 1e-5)
    assert small.get_layer("decoder").units == 7


def test_where_initial_states_may_come_from():
    inputs, start = keras.Input((4, 5)), keras.Input((6,))
    made = layers.Dense(7, "tanh", name="made")(layers.Flatten()(inputs))
    one = layers.GRU(7, name="one")(inputs, initial_state=made)
    other = layers.SimpleRNN(6, name="other")(inputs, initial_state=[start])
    third = layers.SimpleRNN(8, name="third")(inputs, initial_state=keras.ops.ones((1, 8)))
    x = layers.Concatenate()([layers.Dense(3)(each) for each in (one, other, third)])
    model = keras.Model([inputs, start], layers.Dense(2)(x))
    groups = channel_groups(model)
    assert sizes(groups)["made"] == 7
    assert "one" in groups[0].layers
    (fixed,) = [entry for entry in groups.left_alone if entry.reason == "its initial state has a fixed width"]
    assert fixed.causes == ("other (SimpleRNN)", "third (SimpleRNN)")


def test_joined_states_of_two_directions(tmp_path):
    first, second = keras.Input((5, 4)), keras.Input((6, 3))
    both = layers.Bidirectional(layers.LSTM(6, return_state=True), name="both")
    _, forward, forward_carry, backward, backward_carry = both(first)
    states = [layers.Concatenate()(pair) for pair in ((forward, backward), (forward_carry, backward_carry))]
    x = layers.LSTM(12, return_sequences=True, name="decoder")(second, initial_state=states)
    model = keras.Model([first, second], layers.Dense(3)(x))
    groups = agrees(model)
    assert [(group.size, group.layers, group.multiplicity) for group in groups] == [(6, ("both", "decoder"), 2)]
    is_ordinary(model, groups, tmp_path)


def test_states_of_two_directions_start_two_directions():
    first, second = keras.Input((5, 4)), keras.Input((6, 3))
    _, *states = layers.Bidirectional(layers.GRU(6, return_state=True), name="encoder")(first)
    x = layers.Bidirectional(layers.GRU(6, return_sequences=True), merge_mode="sum")(second, initial_state=states)
    groups = agrees(keras.Model([first, second], layers.Dense(3)(x)))
    assert sizes(groups) == {"encoder": 6}


def test_convolving_states_start_others():
    first, second = keras.Input((3, 5, 5, 2)), keras.Input((2, 5, 5, 3))
    _, *states = layers.ConvLSTM2D(4, 3, padding="same", return_state=True, name="encoder")(first)
    x = layers.ConvLSTM2D(4, 3, padding="same")(second, initial_state=states)
    groups = agrees(keras.Model([first, second], layers.Dense(3)(layers.Flatten()(x))))
    assert sizes(groups) == {"encoder": 4}


def test_cells(tmp_path):
    inputs = keras.Input((4, 5))
    cells = [layers.LSTMCell(6), layers.GRUCell(5, reset_after=False), layers.SimpleRNNCell(7)]
    x = layers.RNN(cells, return_sequences=True, name="stacked")(inputs)
    x = layers.Bidirectional(layers.RNN([layers.GRUCell(4), layers.LSTMCell(3)], return_sequences=True), name="both")(x)
    x = layers.RNN(layers.LSTMCell(8), name="single")(x)
    model = keras.Model(inputs, layers.Dense(3)(x))
    groups = agrees(model)
    stacked = {"stacked.cell0": 6, "stacked.cell1": 5, "stacked.cell2": 7}
    assert sizes(groups) == stacked | {"both.cell0": 4, "both.cell1": 3, "single": 8}
    is_ordinary(model, groups, tmp_path)


def test_states_of_cells_start_others():
    first, second = keras.Input((5, 4)), keras.Input((6, 3))

    def cells():
        return [layers.LSTMCell(6), layers.GRUCell(5)]

    _, *states = layers.RNN(cells(), return_state=True, name="encoder")(first)
    x = layers.RNN(cells(), return_sequences=True)(second, initial_state=states)
    groups = agrees(keras.Model([first, second], layers.Dense(3)(x)))
    assert sizes(groups) == {"encoder.cell0": 6, "encoder.cell1": 5}


@keras.saving.register_keras_serializable("tests")
class OneCell(layers.LSTMCell):
    pass


def test_cells_of_other_classes_are_left_alone():
    inputs = keras.Input((4, 5))
    x = layers.RNN([layers.LSTMCell(6), OneCell(5)], name="own")(inputs)
    x = layers.Dense(4, name="after")(x)
    groups = agrees(keras.Model(inputs, layers.Dense(3)(x)), pinned=[("own", "no rule for cells of classes")])
    assert sizes(groups) == {"after": 4}


def test_layers_that_keep_their_states_begin_anew():
    inputs = keras.Input(batch_shape=(3, 4, 5))
    x = layers.LSTM(6, stateful=True, return_sequences=True, name="first")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.GRU(5, stateful=True, name="second")(x)))
    groups = channel_groups(model)
    assert sizes(groups) == {"first": 6, "second": 5}
    small = slim(model, np.arange(11) % 3 > 0, groups)
    values = example_inputs(model)
    once, twice = outputs(small, values), outputs(small, values)
    assert np.abs(once[0] - twice[0]).max() > 1e-3, "the states are kept"
    without = keras.Model.from_config(small.get_config())
    without.set_weights(small.get_weights())
    assert_close(outputs(without, values), once, 1e-6)


def test_costs_are_those_of_the_operations():
    inputs = keras.Input((4, 5))
    x, *states = layers.RNN([layers.LSTMCell(6), layers.GRUCell(5)], return_sequences=True, return_state=True)(inputs)
    x = layers.Bidirectional(layers.RNN(layers.SimpleRNNCell(7)))(x)
    model = keras.Model(
        inputs, [layers.Dense(3)(x), layers.GRU(5, activation="softmax")(inputs, initial_state=states[1])]
    )
    cost = complexity(model)
    by_hand = {"lstm": 4 * (5 + 6) * 6, "gru": 3 * (6 + 5) * 5, "both": 2 * (5 + 7) * 7, "last": 3 * (5 + 5) * 5}
    assert cost.macs == 4 * sum(by_hand.values()) + 14 * 3
    assert cost.uncounted == ()
    assert cost.macs == sum(traced_flops(call) for call in channel_groups(model).calls)
