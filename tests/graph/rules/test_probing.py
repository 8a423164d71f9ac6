"""Functions and layers without a rule are tried: what passes is slimmed to what a masked model computes."""

import functools
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.graph.agreement import agrees, example_inputs, outputs, randomize, sizes
from tfprune.errors import UnsupportedLayerError
from tfprune.graph import channel_groups, executable_groups, register_rule, slim

layers = keras.layers
ops = keras.ops


def cut_by_hand(model, kept):
    """The outputs of `model` where `head` reads only the kept channels of `make`."""
    kernel = np.asarray(model.get_layer("head").kernel)
    masked = np.zeros_like(kernel)
    masked[kept] = kernel[kept]
    model.get_layer("head").kernel.assign(masked)
    result = outputs(model, example_inputs(model))
    model.get_layer("head").kernel.assign(kernel)
    return result


def convolution_then(between, width=8, shape=(5, 6, 3)):
    inputs = keras.Input(shape)
    make = layers.Conv2D(width, 3, padding="same", name="make") if len(shape) == 3 else layers.Dense(width, name="make")
    x = between(make(inputs))
    x = layers.GlobalAveragePooling2D()(x) if len(x.shape) == 4 else x
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def sure(x):
    return x * ops.sigmoid(1.702 * x)


def centred(x):
    return x - ops.mean(x, axis=-1, keepdims=True)


def wide_only(x):
    return x * np.linspace(0, 1, 8, dtype="float32")


class Counting:
    calls = 0

    def __call__(self, x):
        self.calls += 1
        return x * self.calls


SEPARATE = {
    "own": sure,
    "partial": functools.partial(keras.activations.gelu, approximate=True),
    "lambda": lambda x: ops.maximum(x, 0.1 * x),
    "operation": ops.silu,
    "operation without an activation of that name": ops.square,
    "tensorflow": tf.nn.relu,
    "layer": layers.LeakyReLU(0.2),
}
MIXING = {
    "centred": (centred, "its activation centred mixes them"),
    "softmax of TensorFlow": (tf.nn.softmax, "mixes them"),
    "scaled by the width": (lambda x: x / x.shape[-1], "mixes them"),
    "cumulative": (lambda x: ops.cumsum(x, axis=-1), "mixes them"),
    "of one width": (wide_only, "its activation wide_only fails when it is tried"),
    "random": (lambda x: x * ops.cast(keras.random.uniform((), seed=None), x.dtype), "random, or keeps a state"),
    "with a state": (Counting(), "its activation Counting is random, or keeps a state"),
}


@pytest.mark.parametrize("name", SEPARATE)
def test_functions_of_single_values_lose_channels(name):
    function = SEPARATE[name]
    for between in (layers.Activation(function), lambda x: layers.Dense(7, activation=function)(x)):
        groups = agrees(convolution_then(between))
        assert sizes(groups)["make"] == 8
        assert groups.pinned == ()


@pytest.mark.parametrize("name", MIXING)
def test_functions_that_mix_are_named(name):
    function, reason = MIXING[name]
    groups = channel_groups(convolution_then(layers.Activation(function)))
    assert groups.channels == 0
    assert groups.pinned[0].startswith("make (Conv2D): 8 channels stay because of ")
    assert reason in groups.pinned[0]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_functions_are_tried_in_the_dtype_of_the_layer(policy):
    def by_dtype(x):
        return sure(x) if keras.backend.standardize_dtype(x.dtype) == "float32" else centred(x)

    for function, channels in ((by_dtype, 0), (lambda x: sure(x) + 1, 8)):
        assert channel_groups(convolution_then(layers.Activation(function))).channels == 8
        assert channel_groups(convolution_then(layers.Activation(function, dtype=policy))).channels == channels


def test_recurrent_activations_are_tried():
    def groups_with(function):
        inputs = keras.Input((4, 3))
        return channel_groups(keras.Model(inputs, layers.Dense(2)(layers.GRU(5, activation=function)(inputs))))

    assert groups_with(sure).channels == 5
    assert groups_with(centred).channels == 0


def test_functions_can_be_declared():
    def mysterious(x):
        return sure(x) if x.shape[-1] == 8 else centred(x)

    build = functools.partial(convolution_then, layers.Activation(mysterious))
    assert channel_groups(build()).channels == 0
    register_rule(mysterious, layers.ReLU)
    assert channel_groups(build()).channels == 8
    with pytest.raises(UnsupportedLayerError, match=r"or a function with like=keras\.layers\.ReLU"):
        register_rule(mysterious, layers.Conv2D)


def test_a_function_without_a_hash_is_tried_each_time():
    class Plain:
        __hash__ = None

        def __call__(self, x):
            return 2 * x

    assert channel_groups(convolution_then(layers.Activation(Plain()))).channels == 8


class Scale(layers.Layer):
    """One trained factor per channel, which starts at zero."""

    def build(self, shape):
        self.factor = self.add_weight(shape=shape[-1:], initializer="zeros", name="factor")

    def call(self, inputs):
        return inputs * (1 + self.factor)


class Sized(layers.Layer):
    """As `Scale`, with the number of channels as a setting."""

    def __init__(self, dim, **settings):
        super().__init__(**settings)
        self.dim = dim

    def build(self, shape):
        self.factor = self.add_weight(shape=(self.dim,), initializer="ones", name="factor")

    def call(self, inputs):
        return inputs * self.factor

    def get_config(self):
        return {**super().get_config(), "dim": self.dim}


class TwiceSized(Sized):
    """Has two settings that may be the number of channels."""

    def __init__(self, dim, other, **settings):
        super().__init__(dim, **settings)
        self.other = other

    def get_config(self):
        return {**super().get_config(), "other": self.other}


class Nested(layers.Layer):
    """Holds a layer with weights."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.norm = layers.BatchNormalization()

    def call(self, inputs):
        return ops.relu(self.norm(inputs))


class Averaging(layers.Layer):
    """Averages positions, not channels."""

    def call(self, inputs):
        return ops.mean(inputs, axis=(1, 2))


class Filtering(layers.Layer):
    """A depthwise convolution."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], 1), name="kernel")

    def call(self, inputs):
        return ops.depthwise_conv(inputs, self.kernel, padding="same")


class Frozen(layers.BatchNormalization):
    """Never uses the statistics of the batch."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False)


class Responding(layers.Layer):
    """ConvNeXt V2's global response normalization: the identity as long as its weights are zeros."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=shape[-1:], initializer="zeros", name="gamma")

    def call(self, inputs):
        norms = ops.sqrt(ops.sum(ops.square(inputs), axis=(1, 2), keepdims=True))
        return inputs + self.gamma * inputs * norms / (ops.mean(norms, axis=-1, keepdims=True) + 1e-6)


class Noise(layers.Layer):
    """Is random in inference mode, too."""

    def call(self, inputs):
        return inputs + keras.random.normal(ops.shape(inputs), seed=None)


class Unmakeable(layers.Layer):
    """Cannot be made from its configuration."""

    def __init__(self, thing):
        super().__init__()
        self.thing = thing

    def call(self, inputs):
        return inputs


FOUND = {
    "scale": (Scale, [("factor", -1)]),
    "with the width as a setting": (lambda: Sized(8), [("factor", -1)]),
    "nested": (Nested, [(weight, -1) for weight in ("gamma", "beta", "moving_mean", "moving_variance")]),
    "averaging": (Averaging, []),
    "filtering": (Filtering, [("kernel", -2)]),
    "frozen": (Frozen, [(weight, -1) for weight in ("gamma", "beta", "moving_mean", "moving_variance")]),
    "lambda": (lambda: layers.Lambda(lambda x: ops.clip(x, 0, 6) * 0.5), []),
}
REFUSED = {
    "two settings": lambda: TwiceSized(8, 8),
    "responding": Responding,
    "noise": Noise,
    "unmakeable": lambda: Unmakeable(object()),
    "lambda": lambda: layers.Lambda(centred),
}


@pytest.mark.parametrize("name", FOUND)
def test_layers_that_treat_channels_separately_are_found(name):
    make, weights = FOUND[name]
    model = convolution_then(make())
    randomize(model)
    for variable in model.variables:
        if variable.name in ("factor", "kernel"):
            variable.assign(np.random.default_rng(1).normal(0, 1, variable.shape))
    groups = channel_groups(model)
    assert groups.pinned == ()
    (group,) = groups
    assert (group.name, group.size) == ("make", 8)
    layer = model.layers[2]
    found = [slot for name, slots in groups.slots.items() if name.startswith(layer.name) for slot in slots]
    assert [(slot.weight, slot.axis) for slot in found] == weights
    kept = [0, 3, 4, 6]
    small = slim(model, np.isin(np.arange(8), kept), groups)
    assert small.count_params() < model.count_params()
    for found, expected in zip(outputs(small, example_inputs(model)), cut_by_hand(model, kept), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_other_layers_are_left_alone(name):
    groups = channel_groups(convolution_then(REFUSED[name]()))
    assert groups.channels == 0
    (text,) = groups.pinned
    assert "; give one to tfprune.register_rule; holds make (8 channels)" in text


def test_channels_before_positions_are_tried_along_their_own_axis():
    class First(layers.Layer):
        def __init__(self, **settings):
            super().__init__(**settings)
            self.data_format = "channels_first"

        def call(self, inputs):
            return inputs * ops.sum(inputs, axis=(2, 3), keepdims=True)

    inputs = keras.Input((3, 9, 9))
    x = First()(layers.Conv2D(6, 3, data_format="channels_first", use_bias=False, name="make")(inputs))
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    assert sizes(agrees(keras.Model(inputs, layers.Dense(3)(x)))) == {"make": 6}


def test_trying_a_layer_changes_nothing():
    model = convolution_then(Nested())
    before = [np.asarray(variable).copy() for variable in model.variables]
    random.seed(3)
    expected = random.random()
    random.seed(3)
    channel_groups(model)
    assert random.random() == expected
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_what_was_tried_is_not_resized_by_a_search():
    model = convolution_then(Frozen())
    assert channel_groups(model).channels == 8
    groups = executable_groups(model)
    assert groups.channels == 0
    assert "no search at other widths" in groups.pinned[0]
