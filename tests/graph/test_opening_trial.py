"""Code of layers that does something else on numbers, or in training, than on symbolic tensors."""

import keras
import numpy as np
import pytest
from keras import ops

import tfprune

layers = keras.layers


class Branching(layers.Layer):
    """An MLP of which half of the hidden units do nothing; subclasses say how the hidden units are changed.

    Its width is no setting, so only a functional model can take its place.
    """

    def build(self, shape):
        self.up, self.down = layers.Dense(8), layers.Dense(shape[-1])
        self.up.build(shape)
        self.down.build((*shape[:-1], 8))
        self.up.kernel.assign(np.asarray(self.up.kernel) * (np.arange(8) < 4))

    def changed(self, hidden, x, training):
        return hidden

    def call(self, x, training=None):
        return x + self.down(self.changed(ops.relu(self.up(x)), x, training))


RNG = np.random.default_rng()


class LongOnly(Branching):
    def changed(self, hidden, x, training):
        return hidden if x.shape[1] is None or x.shape[1] < 5 else ops.tanh(hidden)


class SingleOnly(Branching):
    def changed(self, hidden, x, training):
        return hidden * 2.0 if x.shape[0] == 1 else hidden


class InTraining(Branching):
    def changed(self, hidden, x, training):
        return ops.tanh(hidden) if training else hidden


class Drawing(Branching):
    def changed(self, hidden, x, training):
        return hidden * RNG.normal()


class Frozen(Branching):
    def build(self, shape):
        super().build(shape)
        self.norm = layers.BatchNormalization()
        self.norm.build((*shape[:-1], 8))

    def changed(self, hidden, x, training):
        return self.norm(hidden, training=False)


class Normalized(Frozen):
    """Leaves training to the layers within it."""

    def changed(self, hidden, x, training):
        return self.norm(hidden)


def model_of(kind):
    keras.utils.set_random_seed(1)  # kernels that are larger than the zeros among them, also for l2 and normalizations
    inputs = keras.Input((None, 4))
    return keras.Model(inputs, kind(name="block")(inputs))


@pytest.mark.parametrize("kind", [LongOnly, SingleOnly, InTraining, Frozen])
def test_no_functional_model_takes_the_place_of_code_that_branches(kind):
    groups = tfprune.channel_groups(model_of(kind))
    assert not list(groups)


def test_random_numbers_do_not_become_constants():
    (alone,) = tfprune.channel_groups(model_of(Drawing)).left_alone
    assert "it computes something else each time" in str(alone)


@pytest.mark.parametrize("kind", [Branching, Normalized])
@pytest.mark.parametrize("training", [False, True])
def test_other_code_becomes_a_functional_model(kind, training):
    model = model_of(kind)
    small = tfprune.plan_channels(model, "l2", density=0.5).apply()
    assert small.count_params() < model.count_params()
    for shape in [(3, 7, 4), (1, 2, 4)]:
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        np.testing.assert_allclose(small(x, training=training), model(x, training=training), atol=1e-5)


class Configured(LongOnly):
    """Can say its width, so it stays of its class and branches as before."""

    def __init__(self, width=8, **settings):
        super().__init__(**settings)
        self.width = width

    def build(self, shape):
        self.up, self.down = layers.Dense(self.width), layers.Dense(shape[-1])
        self.up.build(shape)
        self.down.build((*shape[:-1], self.width))
        self.up.kernel.assign(np.asarray(self.up.kernel) * (np.arange(self.width) < 4))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def test_a_class_that_branches_on_sizes_keeps_its_code():
    model = model_of(Configured)
    small = tfprune.plan_channels(model, "l2", density=0.5).apply()
    assert small.get_layer("block").width == 4
    for length in (2, 7):
        x = np.random.default_rng(0).normal(size=(3, length, 4)).astype(np.float32)
        np.testing.assert_allclose(small(x), model(x), atol=1e-5)


class Doubling(layers.Layer):
    """Has code for training, as stochastic depth of a package has, and no layers within."""

    def call(self, x, training=None):
        return 2.0 * x if training else x


class WithDoubling(Branching):
    def build(self, shape):
        super().build(shape)
        self.double = Doubling()

    def changed(self, hidden, x, training):
        return self.double(hidden, training=training)


@pytest.mark.parametrize("training", [False, True])
def test_a_layer_within_keeps_its_code_for_training(training):
    model = model_of(WithDoubling)
    small = tfprune.plan_channels(model, "l2", density=0.5).apply()
    assert small.count_params() < model.count_params()
    x = np.random.default_rng(0).normal(size=(3, 7, 4)).astype(np.float32)
    np.testing.assert_allclose(small(x, training=training), model(x, training=training), atol=1e-5)
