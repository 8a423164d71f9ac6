import io
import re

import keras
import numpy as np
import pytest
from rich.console import Console

from tfprune.errors import ConfigError
from tfprune.graph import complexity, model_calls
from tfprune.report import comparison_table, has_unknown_sizes, memory_traffic, sized_model

layers = keras.layers
BEFORE = {"accuracy": 0.9, "flops": 2e6, "params": 1000, "file_bytes": 3e6, "latency_ms": 5.0}
AFTER = {"accuracy": 0.88, "flops": 1e6, "params": 1000, "file_bytes": 1.5e6, "latency_ms": 6.0}


def network(shape=(None, None, 3)):
    inputs = keras.Input(shape)
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.ops.relu(x) + 1.0
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)), name="open")


def test_the_copy_computes_the_same_and_its_cost_is_known():
    model = network()
    copy = sized_model(model, (10, 12, 3))
    assert has_unknown_sizes(model)
    assert not has_unknown_sizes(copy)
    assert copy.input_shape == (None, 10, 12, 3)
    assert complexity(copy).flops == 8 * 10 * 9 * 3 * 4 + 8
    images = np.random.default_rng(0).random((2, 10, 12, 3), np.float32)
    np.testing.assert_allclose(copy(images), model(images), rtol=1e-6)
    copy.layers[1].kernel.assign(0 * copy.layers[1].kernel)
    assert np.any(model.get_layer("conv").kernel)


def test_sequential_models():
    model = keras.Sequential([keras.Input((None, 3)), layers.Conv1D(4, 3), layers.GlobalAveragePooling1D()])
    copy = sized_model(model, (7, 3))
    assert copy.input_shape == (None, 7, 3)
    assert complexity(copy).flops == 5 * 3 * 3 * 4
    np.testing.assert_array_equal(copy.layers[0].kernel, model.layers[0].kernel)


@keras.saving.register_keras_serializable(package="tests")
class Registered(layers.Layer):
    def call(self, values):
        return values


class Unregistered(layers.Layer):
    def call(self, values):
        return values


@pytest.mark.parametrize("kind", [Registered, Unregistered])
def test_own_layers(kind):
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, kind()(inputs))
    assert type(sized_model(model, (4, 3)).layers[-1]) is kind


def test_operations_and_layers_of_one_name():
    """keras.ops.add and keras.layers.Add both go by the class name Add."""
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, layers.Add()([inputs + 3.0, inputs]))
    np.testing.assert_array_equal(sized_model(model, (1, 3))(np.ones((1, 1, 3), np.float32)), np.full((1, 1, 3), 5.0))


def test_a_model_of_that_size_is_left_as_it_is():
    model = network((8, 8, 3))
    assert sized_model(model, (8, 8, 3)) is model


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (network(), (8, 8), r"input_shape: expected one that fits \[None, None, 3\], received \[8, 8\]"),
        (network(), (8, 8, 4), r"expected one that fits \[None, None, 3\], received \[8, 8, 4\]"),
        (network((8, 8, 3)), (9, 9, 3), r"expected one that fits \[8, 8, 3\], received \[9, 9, 3\]"),
        (network(), (8, 0, 3), "input_shape: expected a whole number from 1 to 2147483647, received 0"),
        (network(), (2, 2, 3), r"open does not take inputs of \[2, 2, 3\]: "),
    ],
)
def test_shapes_that_do_not_fit(model, shape, message):
    with pytest.raises(ConfigError, match=message):
        sized_model(model, shape)


def test_several_inputs_are_refused():
    inputs = [keras.Input((None, 2)), keras.Input((None, 2))]
    with pytest.raises(ConfigError, match="expected a model with one input, received one with 2"):
        sized_model(keras.Model(inputs, layers.Add()(inputs)), (3, 2))


def test_sizes_that_remain_unknown_are_named():
    class Chosen(layers.Layer):
        """Returns as many positions as its values say."""

        def compute_output_shape(self, shape):
            return (shape[0], None, shape[2])

        def call(self, values):
            return values

    inputs = keras.Input((None, 3))
    inner = keras.Sequential([keras.Input((None, 3)), Chosen(name="chosen")], name="inner")
    with pytest.raises(ConfigError, match=r"remain unknown at inner/chosen; build the model with a fixed"):
        sized_model(keras.Model(inputs, inner(inputs)), (4, 3))


def test_sizes_within_nested_models_are_those_of_their_calls():
    inner = keras.Sequential([keras.Input((None, 3)), layers.Dense(2, name="dense")], name="inner")
    inputs = keras.Input((None, 3))
    sized = sized_model(keras.Model(inputs, inner(inputs)), (4, 3))
    assert [call.outputs[0].shape for call in model_calls(sized)] == [(None, 4, 3), (None, 4, 2)]


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


def shown(before, after):
    screen = io.StringIO()
    comparison_table({"before": before, "after": after}, Console(file=screen, width=100))
    return [re.split(r"\s{2,}", line.strip()) for line in screen.getvalue().splitlines()]


def test_table():
    assert shown(BEFORE, AFTER) == [
        ["before", "after", "change"],
        ["accuracy", "90.00%", "88.00%", "-2.00 points"],
        ["FLOPs (multiply-adds)", "2.00 M", "1.00 M", "2.00 times less"],
        ["parameters", "1,000", "1,000", "same"],
        ["file size", "3.00 MB", "1.50 MB", "2.00 times less"],
        ["latency, 1 image", "5.00 ms", "6.00 ms", "1.20 times more"],
    ]


def test_better_accuracy_has_a_plus():
    assert shown(AFTER, BEFORE)[1][-1] == "+2.00 points"
