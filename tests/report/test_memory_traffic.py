import keras
import pytest

from tfprune.graph import model_calls
from tfprune.report import memory_traffic

layers = keras.layers


def traffic(inputs, outputs):
    return memory_traffic(model_calls(keras.Model(inputs, outputs)))


def test_inputs_weights_and_outputs_count_four_bytes_each():
    inputs = keras.Input((8, 8, 3), name="input")
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Add(name="add")([x, x])
    received = traffic(inputs, layers.Conv2D(2, 1, use_bias=False, name="last")(x))
    assert received == {
        "input": 0,
        "conv": 4 * (8 * 8 * 3 + (9 * 3 * 4 + 4) + 8 * 8 * 4),
        "bn": 4 * (8 * 8 * 4 + 4 * 4 + 8 * 8 * 4),
        "add": 4 * 3 * 8 * 8 * 4,
        "last": 4 * (8 * 8 * 4 + 8 + 8 * 8 * 2),
    }


@pytest.mark.parametrize("layer", [layers.Flatten(), layers.Reshape((3, 2)), layers.Dropout(0.5), layers.Identity()])
def test_what_hands_its_input_on_moves_nothing(layer):
    inputs = keras.Input((2, 3))
    assert list(traffic(inputs, layer(inputs)).values()) == [0, 0]


def test_calls_of_a_shared_layer_add_up():
    inputs = keras.Input((3,))
    dense = layers.Dense(3, use_bias=False, name="dense")
    assert traffic(inputs, dense(dense(inputs)))["dense"] == 2 * 4 * (3 + 9 + 3)


def test_layers_of_nested_models_and_bare_operations_have_their_own():
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="dense")], name="inner")
    inputs = keras.Input((3,))
    received = traffic(inputs, keras.ops.relu(inner(inputs)))
    assert received["inner/dense"] == 4 * (3 + 8 + 2)
    assert list(received.values())[-1] == 4 * (2 + 2)


@pytest.mark.parametrize(("rows", "read"), [(100, 5 * 3), (2, 2 * 3)])
def test_an_embedding_reads_what_is_looked_up(rows, read):
    inputs = keras.Input((5,), dtype="int32")
    received = traffic(inputs, layers.Embedding(rows, 3, name="embedding")(inputs))
    assert received["embedding"] == 4 * (5 + read + 5 * 3)


def test_unknown_sizes_have_no_count():
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    pooled = layers.GlobalAveragePooling2D(name="pool")(x)
    received = traffic(inputs, layers.Dense(2, name="dense")(pooled))
    assert received["conv"] is received["pool"] is None
    assert received["dense"] == 4 * (4 + 10 + 2)
