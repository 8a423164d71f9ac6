import keras
import numpy as np
import pytest

from tfprune.errors import ConfigError
from tfprune.graph import complexity
from tfprune.report import has_unknown_sizes, sized_model

layers = keras.layers


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
        (network(), (8, 0, 3), r"expected whole numbers above 0, received \[8, 0, 3\]"),
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
    inner = keras.Sequential([keras.Input((None, 3)), layers.Dense(2, name="dense")], name="inner")
    inputs = keras.Input((None, 3))
    with pytest.raises(ConfigError, match=r"remain unknown at inner/dense; build the model with a fixed"):
        sized_model(keras.Model(inputs, inner(inputs)), (4, 3))
