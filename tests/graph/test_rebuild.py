"""Copies of models: nested models at several sizes, layers that Keras cannot make again, classes of one's own."""

import keras
import numpy as np
import pytest

import tfprune
from tests.graph.agreement import agrees, sizes
from tfprune.errors import UnsupportedLayerError
from tfprune.graph import channel_groups, complexity, convert, masks_of, slim

layers = keras.layers
RNG = np.random.default_rng(0)


def block_at_two_sizes() -> keras.Model:
    """A block of open height and width, at 8 x 8 and at 4 x 4, and whole pictures behind it."""
    keras.utils.set_random_seed(0)
    inner = keras.Input((None, None, 8))
    x = layers.Conv2D(12, 3, padding="same", activation="relu", name="wide")(inner)
    block = keras.Model(inner, layers.Conv2D(8, 3, padding="same", activation="relu", name="narrow")(x), name="block")
    inputs = keras.Input((8, 8, 3))
    large = block(layers.Conv2D(8, 3, padding="same", name="stem")(inputs))
    small = block(layers.MaxPooling2D()(large))
    flat = layers.Concatenate()([layers.Flatten()(large), layers.Flatten()(small)])
    return keras.Model(inputs, layers.Dense(5, name="fc")(flat))


def blocks_within_a_block() -> keras.Model:
    deepest = keras.Input((None, 8))
    deep = keras.Model(deepest, layers.Add()([deepest, layers.Conv1D(8, 3, padding="same")(deepest)]), name="deep")
    middle = keras.Input((None, 8))
    x = layers.Conv1D(8, 1, name="last")(deep(layers.MaxPooling1D()(deep(middle))))
    block = keras.Model(middle, x, name="block")
    inputs = keras.Input((16, 3))
    return keras.Model(inputs, layers.Dense(5)(layers.Flatten()(block(block(layers.Conv1D(8, 1)(inputs))))))


def block_of_open_height() -> keras.Model:
    inner = keras.Input((None, 4, 8))
    x = layers.Conv2D(12, 3, padding="same", activation="relu")(inner)
    block = keras.Model(inner, layers.Conv2D(8, 3, padding="same")(x), name="block")
    inputs = keras.Input((8, 4, 3))
    x = block(layers.MaxPooling2D((2, 1))(block(layers.Conv2D(8, 1)(inputs))))
    return keras.Model(inputs, layers.Dense(5)(layers.Flatten()(x)))


def block_of_two_inputs() -> keras.Model:
    inner = [keras.Input((None, 8)), keras.Input((None, 6))]
    joined = layers.Concatenate()([layers.Dense(5, activation="relu")(inner[0]), layers.Dense(4)(inner[1])])
    block = keras.Model(inner, joined, name="block")
    first, second = layers.Dense(8), layers.Dense(6)
    inputs = [keras.Input((4, 3)), keras.Input((2, 3))]
    outputs = [layers.Dense(2)(layers.Flatten()(block([first(each), second(each)]))) for each in inputs]
    return keras.Model(inputs, outputs)


def block_for_a_fixed_and_an_open_batch() -> keras.Model:
    inner = keras.Input((8,))
    block = keras.Model(inner, layers.Dense(8)(layers.Dense(12, activation="relu")(inner)), name="block")
    inputs = [keras.Input(batch_shape=(3, 6)), keras.Input((6,))]
    return keras.Model(inputs, [layers.Dense(2)(block(layers.Dense(8)(each))) for each in inputs])


def layers_at_two_sizes() -> keras.Model:
    shared, last = layers.Conv2D(8, 3, padding="same", activation="relu"), layers.Dense(6)
    inputs = keras.Input((8, 8, 3))
    x = shared(layers.MaxPooling2D()(shared(layers.Conv2D(8, 1)(inputs))))
    heads = [layers.Flatten()(last(x)), last(layers.GlobalAveragePooling2D()(x))]
    return keras.Model(inputs, [layers.Dense(2)(each) for each in heads])


@pytest.mark.parametrize(
    ("build", "found"),
    [
        (block_at_two_sizes, [8, 12]),
        (blocks_within_a_block, [8]),
        (block_of_open_height, [8, 12]),
        (block_of_two_inputs, [4, 5, 6, 8]),
        (block_for_a_fixed_and_an_open_batch, [8, 8, 12]),
        (layers_at_two_sizes, [6, 8]),
    ],
)
def test_parts_called_at_two_sizes_are_cut_and_converted(build, found, tmp_path):
    model = build()
    groups = agrees(model)
    assert sorted(sizes(groups).values()) == found
    for small in (tfprune.prune_channels(model, "l2", params=0.6), convert(model, "masked")):
        small.save(tmp_path / "model.keras")
        assert keras.models.load_model(tmp_path / "model.keras").count_params() == small.count_params()


def test_a_block_at_two_sizes_computes_what_zeros_compute():
    model = block_at_two_sizes()
    images = RNG.normal(size=(2, 8, 8, 3)).astype(np.float32)
    groups = channel_groups(model)
    removed = np.array([0, 3, 4, 10, 11])
    mask = np.ones(groups.channels, bool)
    mask[next(group for group in groups if group.name == "block/wide").start + removed] = False
    small = slim(model, mask, groups)
    assert small.get_layer("block").get_layer("wide").filters == 7
    zeroed = keras.models.clone_model(model)
    zeroed.set_weights(model.get_weights())
    for weight in zeroed.get_layer("block").get_layer("wide").weights:
        array = weight.numpy().copy()
        array[..., removed] = 0
        weight.assign(array)
    assert not np.allclose(zeroed(images), model(images), atol=1e-2)
    np.testing.assert_allclose(small(images), zeroed(images), rtol=1e-5, atol=1e-5)


def test_the_copy_of_a_block_has_the_block_s_own_open_sizes():
    model = block_at_two_sizes()
    assert convert(model, "plain").get_layer("block").input_shape == (None, None, None, 8)
    small = tfprune.prune_channels(model, "l2", density=0.5, scope="local")
    assert small.get_layer("block").input_shape == (None, None, None, 4)


def test_a_block_costs_what_it_computes_at_every_size():
    block = 3 * 3 * 8 * 12 + 3 * 3 * 12 * 8
    expected = 64 * 3 * 3 * 3 * 8 + (64 + 16) * block + (64 + 16) * 8 * 5
    assert complexity(block_at_two_sizes()).flops == expected


def test_masks_of_a_block_at_two_sizes():
    model = block_at_two_sizes()
    masks = tfprune.criteria.Magnitude()(model, density=0.5)
    assert masks_of(convert(model, "masked", masks)) == masks


class Token(layers.Layer):
    """Adds a vector. Its constructor takes no `name`, so Keras cannot make it again."""

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.part = layers.Dense(width, use_bias=False)

    def build(self, shape):
        self.token = self.add_weight(shape=(1, self.width), initializer="random_normal", name="token")
        self.part.build(shape)

    def call(self, x):
        return self.part(x) + self.token


class Strange(Token):
    """Its configuration is one that Keras cannot read back."""

    def __init__(self, width, **kwargs):
        super().__init__(width)

    def get_config(self):
        return {**super().get_config(), "width": [self.width], "size": 3}


class Unserializable(Token):
    """Takes an object, so Keras does not know its configuration."""

    def __init__(self, width, extra):
        super().__init__(width)
        self.extra = extra


class Scaled(layers.Layer):
    """Has one weight for each channel."""

    def __init__(self):
        super().__init__()

    def build(self, shape):
        self.scale = self.add_weight(shape=shape[-1:], initializer="ones")

    def call(self, x):
        return x * self.scale


def scaled_rule(labels, call):
    axes = labels.of(call.inputs[0])
    labels.slot(call, "scale", -1, axes[-1], "pass")
    labels.put(call.outputs[0], axes)


def with_token(token) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16,))
    return keras.Model(inputs, layers.Dense(3)(layers.Dense(32, activation="relu", name="wide")(token(inputs))))


@pytest.mark.parametrize("make", [lambda: Token(16), lambda: Strange(16), lambda: Unserializable(16, object())])
def test_what_keras_cannot_make_again_and_nobody_cuts_is_copied(make):
    token = make()
    model = with_token(token)
    values = RNG.normal(size=(4, 16)).astype(np.float32)
    expected = model.predict(values, verbose=0)
    groups = channel_groups(model, keep_classes=True)
    assert sizes(groups) == {"wide": 32}
    everything = slim(model, np.ones(groups.channels, bool), groups)
    np.testing.assert_allclose(everything(values), expected, rtol=1e-6)
    for small in (
        tfprune.prune_channels(model, "l2", params=0.7, keep_classes=True),
        convert(model, "masked", {"wide/kernel": np.ones((16, 32))}),
        convert(model, "plain", dtype="mixed_bfloat16"),
        convert(model, "subnet", density=0.5),
    ):
        copy = small.layers[1]
        assert type(copy) is type(token)
        assert [weight.path for weight in copy.weights] == [weight.path for weight in token.weights]
        assert not {id(weight) for weight in copy.weights} & {id(weight) for weight in token.weights}
        for weight, old in zip(copy.weights, token.weights, strict=True):
            np.testing.assert_array_equal(weight, old)
    small = tfprune.prune_channels(model, "l2", params=0.7, keep_classes=True)
    small.compile("sgd", "mse")
    small.fit(values, np.ones((4, 3)), verbose=0)
    assert not np.array_equal(small.layers[1].token, token.token)
    np.testing.assert_array_equal(model.predict(values, verbose=0), expected)


def test_copied_layers_are_saved_like_the_original(tmp_path):
    model = with_token(Token(16))
    small = tfprune.prune_channels(model, "l2", params=0.7, keep_classes=True)
    values = RNG.normal(size=(4, 16)).astype(np.float32)
    for each in (model, small):
        each.save_weights(tmp_path / "it.weights.h5")
        expected = np.asarray(each(values))
        for weight in each.weights:
            weight.assign(weight * 0)
        each.load_weights(tmp_path / "it.weights.h5")
        np.testing.assert_array_equal(each(values), expected)
        each.save(tmp_path / "it.keras")
        with pytest.raises(TypeError, match="unexpected keyword"):
            keras.models.load_model(tmp_path / "it.keras", custom_objects={"Token": Token})


def test_what_keras_cannot_make_again_is_not_cut():
    tfprune.register_rule(Scaled, scaled_rule)
    inputs = keras.Input((8,))
    x = Scaled()(layers.Dense(16, name="before")(inputs))
    x = layers.Dense(12, activation="relu", name="after")(x)
    model = keras.Model(inputs, layers.Dense(3)(x))
    groups = channel_groups(model)
    assert sizes(groups) == {"after": 12}
    (left,) = groups.pinned
    assert left.startswith("scaled (Scaled): Keras cannot make it again from its configuration (Scaled.__init__() got")
    agrees(model, pinned=[("scaled (Scaled)", "cannot make it again")])


def test_what_cannot_be_copied_is_refused_in_one_line(tmp_path):
    with (tmp_path / "open").open("w") as file:
        model = with_token(Unserializable(16, file))
        with pytest.raises(UnsupportedLayerError, match=r"\(Unserializable\).*cannot pickle") as caught:
            convert(model, "plain")
    assert "\n" not in str(caught.value)


class Forgetful(layers.Layer):
    """Multiplies by a number that its configuration leaves out, in a dense layer or of each channel."""

    def __init__(self, factor=1.0, units=None, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.units = units
        self.part = None if units is None else layers.Dense(units)

    def build(self, shape):
        if self.part is not None:
            self.part.build(shape)

    def call(self, x):
        return self.factor * (x if self.part is None else self.part(x))

    def compute_output_shape(self, shape):
        return shape if self.units is None else (*shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@pytest.mark.parametrize("units", [None, 16])
def test_what_a_configuration_leaves_out_is_found_and_kept(units):
    inputs = keras.Input((16,))
    x = Forgetful(3.0, units, name="strange")(layers.Dense(16, name="before")(inputs))
    x = layers.Dense(12, activation="relu", name="after")(x)
    model = keras.Model(inputs, layers.Dense(3)(x))
    groups = channel_groups(model, keep_classes=True)
    assert sizes(groups) == {"after": 12}
    assert any("strange" in each and "a setting is missing there" in each for each in groups.pinned) is (units is None)
    values = RNG.normal(size=(4, 16)).astype(np.float32)
    expected = np.asarray(model(values))
    for copy in (slim(model, np.ones(12, bool), groups), convert(model, "plain"), convert(model, "masked")):
        np.testing.assert_allclose(copy(values), expected, rtol=1e-5, atol=1e-6)
    half = convert(model, "plain", dtype="mixed_bfloat16")
    np.testing.assert_allclose(half(values), expected, rtol=0.1, atol=0.1 * np.abs(expected).max())
    agrees(model, pinned=[("strange", "")] if units is None else ())


WRAPPERS = {
    "each step": (
        lambda function: keras.layers.TimeDistributed(keras.layers.Dense(6, activation=function)),
        lambda layer, x, function: function(x @ layer.layer.kernel + layer.layer.bias),
    ),
    "twice": (
        lambda function: keras.layers.TimeDistributed(
            keras.layers.TimeDistributed(keras.layers.Dense(6, activation=function))
        ),
        lambda layer, x, function: function(x @ layer.layer.layer.kernel + layer.layer.layer.bias),
    ),
    "cells": (lambda function: keras.layers.RNN([keras.layers.SimpleRNNCell(6, activation=function)]), None),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("mixes", [False, True])
def test_wrapped_layers_keep_functions_of_the_user(wrapper, mixes):
    def own(x):
        return keras.ops.softmax(3 * x) if mixes else keras.ops.maximum(x, 0.2 * x) + 0.1

    make, compute = WRAPPERS[wrapper]
    inputs = keras.Input((2, 3, 4) if wrapper == "twice" else (3, 4))
    layer = make(own)
    x = keras.layers.Flatten()(layer(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, name="read")(keras.layers.Dense(5, name="made")(x)))
    assert sizes(channel_groups(model)).get(layer.name, 0) == (0 if mixes else 6)
    data = np.random.default_rng(0).normal(size=(4, *inputs.shape[1:])).astype("float32")
    expected = layer(data) if compute is None else compute(layer, data, own)
    for new in (convert(convert(model, "masked"), "plain"), slim(model, np.ones(channel_groups(model).channels, bool))):
        found = new.get_layer(layer.name)(data)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(new(data), model(data), rtol=1e-5, atol=1e-6)
    agrees(model)


def test_activations_with_weights_are_copied():
    inputs = keras.Input((4,))
    prelu = keras.layers.PReLU()
    x = keras.layers.Dense(5, activation=prelu, name="act")(keras.layers.Dense(6, name="made")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, name="out")(x))
    rows = np.random.default_rng(0).normal(size=(7, 4)).astype("float32")
    model(rows)  # Keras builds the activation here
    prelu.alpha.assign([0.1, -0.2, 0.3, 0.4, 0.5])
    masked = convert(model, "masked")
    for new in (masked, convert(masked, "plain"), slim(model, np.ones(6, bool))):
        np.testing.assert_allclose(new(rows), model(rows), rtol=1e-5, atol=1e-6)
