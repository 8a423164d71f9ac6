"""Layers around other layers: at each point in time, and with a normalized kernel."""

import keras
import numpy as np
import pytest

from tests.graph.agreement import agrees, assert_close, example_inputs, is_ordinary, outputs, sizes, zero_channel
from tfprune.graph import Forward, channel_groups, complexity, slim

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


@pytest.mark.parametrize(
    "kind",
    [
        layers.LayerNormalization,
        layers.RMSNormalization,
        layers.UnitNormalization,
        lambda: layers.GroupNormalization(2),
    ],
)
def test_norms_at_each_point_in_time(kind):
    inputs = keras.Input((4, 5, 6))
    x = layers.TimeDistributed(kind(), name="norm")(layers.Dense(8, name="read")(inputs))
    groups = agrees(keras.Model(inputs, layers.Dense(3)(x)))
    assert list(sizes(groups)) == ["read"]


class Twice(layers.Layer):
    def call(self, inputs):
        return keras.ops.cumsum(inputs, -1)

    def compute_output_shape(self, input_shape):
        return input_shape


def test_wrapping_what_is_left_alone():
    inputs = keras.Input((4, 6))
    x = layers.Dense(8)(inputs)
    own = layers.TimeDistributed(Twice(), name="own")(x)
    x = layers.Dense(5, name="after")(own)
    pinned = [("own", "no rule for Twice at each point in time")]
    groups = agrees(keras.Model(inputs, layers.Dense(3)(x)), pinned=pinned)
    assert sizes(groups) == {"after": 5}


def convolutions(batch_norm=False):
    chain = [layers.Conv2D(6, 3, activation="relu", name="a"), layers.Conv2D(5, 3, name="b")]
    chain += [layers.BatchNormalization(), layers.LayerNormalization()] if batch_norm else []
    return [*chain, layers.GlobalAveragePooling2D()]


def functional():
    x = inputs = keras.Input((7, 7, 2))
    for layer in convolutions():
        x = layer(x)
    return keras.Model(inputs, x, name="inner")


@pytest.mark.parametrize("build", [functional, lambda: keras.Sequential([keras.Input((7, 7, 2)), *convolutions(True)])])
@pytest.mark.parametrize("steps", [4, None])
def test_models_at_each_point_in_time(build, steps, tmp_path):
    inputs = keras.Input((steps, 7, 7, 2))
    x = layers.TimeDistributed(build(), name="timed")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.LSTM(4, name="after")(x)))
    groups = agrees(model)
    assert sizes(groups) == {"timed/a": 6, "timed/b": 5, "after": 4}
    is_ordinary(model, groups, tmp_path)
    counted = (steps or 1) * (25 * 9 * 2 * 6 + 9 * 9 * 6 * 5 + 4 * (5 + 4) * 4) + 4 * 3
    assert complexity(model).macs == counted
    assert complexity(model).uncounted == ()


def test_a_smaller_model_at_each_point_in_time_is_one_with_zeros():
    """A channel without kernel and bias is 0 behind a ReLU, and nothing else changes."""
    inputs = keras.Input((4, 7, 7, 2))
    inner = functional()
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.TimeDistributed(inner)(inputs))))
    groups = channel_groups(model)
    mask = np.ones(groups.channels, bool)
    mask[next(group.start for group in groups if group.name.endswith("/a")) + 2] = False
    small = slim(model, mask, groups)
    zero_channel(inner.get_layer("a"), 2)
    values = example_inputs(model)
    assert_close(outputs(small, values), outputs(model, values), 1e-5)


def test_models_within_models_at_each_point_in_time():
    deep = keras.Sequential([keras.Input((6,)), layers.Dense(7, "relu", name="a"), layers.Dense(5, name="b")])
    timed = layers.TimeDistributed(deep, name="deep")
    middle = keras.Sequential([keras.Input((3, 6)), timed, layers.GRU(6, name="c")])
    first, second = keras.Input((2, 3, 6)), keras.Input((4, 3, 6))
    shared = layers.TimeDistributed(middle, name="shared")
    x = layers.Concatenate()([layers.GRU(4, name="d")(shared(first)), layers.LSTM(3, name="e")(shared(second))])
    model = keras.Model([first, second], layers.Dense(2)(x))
    names = {"shared/deep/a": 7, "shared/deep/b": 5, "shared/c": 6, "d": 4, "e": 3}
    assert sizes(agrees(model)) == names
    step = 3 * (6 * 7 + 7 * 5) + 3 * 3 * (5 + 6) * 6
    assert complexity(model).macs == 6 * step + 2 * 3 * (6 + 4) * 4 + 4 * 4 * (6 + 3) * 3 + 7 * 2


def over_masked_tokens(inner, batch=None, after=layers.GRU):
    """A model that is applied to embeddings with a mask, and a layer that is given this."""
    tokens = keras.Input(batch_shape=(batch, 4), dtype="int32")
    x = layers.Embedding(5, 6, mask_zero=True, embeddings_initializer="glorot_normal", name="read")(tokens)
    x = layers.TimeDistributed(keras.Sequential([keras.Input(batch_shape=(batch, 6)), *inner]), name="timed")(x)
    return keras.Model(tokens, layers.Dense(3)(after(4, name="after")(x)))


def test_masks_that_concern_no_layer_of_the_model():
    model = over_masked_tokens([layers.Dense(7, "relu", name="a"), layers.Dense(5, name="b")])
    groups = agrees(model, power=1e-3)
    assert sizes(groups) == {"read": 6, "timed/a": 7, "timed/b": 5, "after": 4}
    tokens = np.array([[1, 2, 0, 0], [3, 0, 4, 1]])
    np.testing.assert_allclose(Forward(model)(tokens), model(tokens), rtol=1e-5)


def test_masks_reach_layers_that_look_for_them():
    def attended(units, name):
        return lambda x: layers.MultiHeadAttention(2, 3, name=name)(x, x)

    model = over_masked_tokens([layers.Dense(5, name="a")], after=attended)
    tokens = np.array([[1, 2, 0, 0], [3, 0, 4, 1]])
    np.testing.assert_allclose(Forward(model)(tokens), model(tokens), rtol=1e-5)


def test_models_that_are_left_alone_at_each_point_in_time():
    masked = over_masked_tokens([layers.Dense(6), layers.BatchNormalization()])
    assert sizes(agrees(masked, pinned=[("timed", "models with masks")], power=1e-3)) == {"after": 4}
    inputs = keras.Input(batch_shape=(3, 2, 4, 6))
    keeping = keras.Sequential([keras.Input(batch_shape=(3, 4, 6)), layers.GRU(5, stateful=True)])
    x = layers.TimeDistributed(keeping, name="timed")(inputs)
    groups = channel_groups(keras.Model(inputs, layers.Dense(3)(layers.Dense(4, name="after")(x))))
    assert any(text.startswith("timed") and "models with states" in text for text in groups.pinned)
    assert sizes(groups) == {"after": 4}


def test_the_wrapped_layer_keeps_its_settings():
    inputs = keras.Input((4, 6))
    timed = layers.TimeDistributed(layers.Dense(5, "relu", use_bias=False, kernel_regularizer="l2"), name="timed")
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(timed(inputs))))
    groups = channel_groups(model)
    small = slim(model, np.arange(groups.channels) != 2, groups).get_layer("timed").layer
    assert (small.units, small.use_bias) == (4, False)
    assert isinstance(small.kernel_regularizer, keras.regularizers.L2)


def spectral(layer, **options):
    return layers.SpectralNormalization(layer, **options)


def test_normalized_kernels(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = spectral(layers.Conv2D(6, 3, name="a"), name="first")(inputs)
    x = spectral(layers.Conv2DTranspose(5, 3), name="second", power_iterations=2)(x)
    x = spectral(layers.DepthwiseConv2D(3), name="third")(layers.ReLU()(x))
    x = spectral(layers.Dense(4), name="fourth")(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(2)(x))
    groups = agrees(model)
    assert sizes(groups) == {"first": 6, "second": 5, "fourth": 4}
    small = slim(model, np.arange(15) % 6 > 0, groups)
    assert small.get_layer("first").vector_u.shape == (1, 5)
    assert small.get_layer("second").vector_u.shape == (1, 5), "its kernel ends with what it reads"
    assert small.get_layer("third").vector_u.shape == (1, 1)
    is_ordinary(model, groups, tmp_path)
    first = small.get_layer("first")
    for _ in range(100):  # training divides the kernel by its own largest singular value
        first(np.zeros((1, 8, 8, 3), "float32"), training=True)
    matrix = np.asarray(first.layer.kernel).reshape(-1, 5)
    assert np.linalg.svd(matrix)[1][0] == pytest.approx(1, abs=0.01)


def test_wrappers_of_wrappers():
    inputs = keras.Input((5, 3))
    x = spectral(layers.Dense(6), name="normalized")(inputs)
    x = layers.TimeDistributed(spectral(layers.Dense(4)), name="timed")(x)
    groups = agrees(keras.Model(inputs, layers.Dense(3)(x)))
    assert sizes(groups) == {"normalized": 6, "timed": 4}
