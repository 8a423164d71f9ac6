"""Which settings of a block say the widths within it is found by trying, and wrong guesses do not pass."""

import keras
import numpy as np
from keras import ops

from tests import opaque_layers as opaque
from tests.graph.agreement import with_zeros
from tests.graph.test_opened_graph import batch, model_of
from tfprune.graph import channel_groups, slim
from tfprune.graph.configured_widths import scaled

layers = keras.layers


class Settings(layers.Layer):
    """A block whose settings `width`, `other` and `power` may have one value; only `width` is one."""

    def __init__(self, width, other, power=1, **kwargs):
        super().__init__(**kwargs)
        self.width, self.other, self.power = width, other, power

    def build(self, shape):
        self.up = layers.Dense(self.width, name="up")
        self.down = layers.Dense(shape[-1], name="down")
        self.up.build(shape)
        self.down.build((*shape[:-1], self.width))

    def call(self, x):
        return self.down(ops.tanh(self.up(x)) * self.other / 10.0)

    def get_config(self):
        return {**super().get_config(), "width": self.width, "other": self.other, "power": self.power}


class TwoWidths(Settings):
    """Both widths follow one setting, so both are cut together."""

    def build(self, shape):
        super().build(shape)
        self.side = layers.Dense(self.width, name="side")
        self.back = layers.Dense(shape[-1], name="back")
        self.side.build(shape)
        self.back.build((*shape[:-1], self.width))

    def call(self, x):
        return super().call(x) + self.back(self.side(x))


class Unsaid(Settings):
    """Its configuration lacks the width."""

    def get_config(self):
        return {**layers.Layer.get_config(self), "width": 6, "other": self.other}


class Broken(Settings):
    """Its `get_config` looks for an attribute that does not exist, as a block of KerasHub's Llama does."""

    def get_config(self):
        return {**super().get_config(), "missing": self.missing}


def edits(groups, name):
    return {edit.key for edit in groups.by_layer[name].edits}


def test_settings_of_the_same_value_are_told_apart():
    model = model_of(Settings(12, 12, 12, name="block"))
    groups = channel_groups(model, keep_classes=True)
    assert [group.name for group in groups] == ["stem", "block/up"]
    assert "block/down" in groups[0].layers, "it is made as wide as its inputs"
    assert edits(groups, "block") == {"width"}
    mask = np.ones(groups.channels, bool)
    mask[-5:] = False
    small = slim(model, mask, groups)
    block = small.get_layer("block")
    assert (type(block), block.width, block.other, block.power) == (Settings, 7, 12, 12)
    found = small(batch())
    np.testing.assert_allclose(found, with_zeros(model, mask, groups)(batch()), rtol=1e-5, atol=1e-5)


def test_a_setting_may_be_a_multiple_of_the_width():
    groups = channel_groups(model_of(opaque.GatedMLP(24, name="block")), keep_classes=True)
    (edit,) = groups.by_layer["block"].edits
    mask = np.ones(groups.channels, bool)
    mask[-3:] = False
    assert (edit.key, edit.value(24, mask)) == ("inner", 18)
    assert scaled(24, np.array([True] * 9 + [False] * 3)) == 18


def test_widths_of_one_setting_go_together():
    model = model_of(TwoWidths(12, 5, name="block"))
    groups = channel_groups(model, keep_classes=True)
    (group,) = (each for each in groups if each.name == "block/up")
    assert "block/side" in group.layers
    mask = np.ones(groups.channels, bool)
    mask[group.channels][::2] = False
    small = slim(model, mask, groups)
    assert small.get_layer("block").width == 6
    found = small(batch())
    np.testing.assert_allclose(found, with_zeros(model, mask, groups)(batch()), rtol=1e-5, atol=1e-5)


def test_widths_that_no_setting_says_are_held_or_become_functional():
    model = model_of(Unsaid(12, 5, name="block"))
    assert not any(group.name.startswith("block/up") for group in channel_groups(model, keep_classes=True))
    groups = channel_groups(model)
    assert "block/up" in [group.name for group in groups]
    mask = np.ones(groups.channels, bool)
    for group in groups:
        if group.name.startswith("block/"):
            mask[group.channels][::2] = False
    small = slim(model, mask, groups)
    assert isinstance(small.get_layer("block"), keras.Model)
    found = small(batch())
    np.testing.assert_allclose(found, with_zeros(model, mask, groups)(batch()), rtol=1e-5, atol=1e-5)


def test_a_broken_configuration_is_replaced_by_the_constructors_arguments():
    model = model_of(Broken(12, 5, name="block"))
    groups = channel_groups(model, keep_classes=True)
    assert edits(groups, "block") == {"width"}
    mask = np.ones(groups.channels, bool)
    mask[-5:] = False
    assert slim(model, mask, groups).get_layer("block").width == 7


def test_zeros_among_the_weights_hide_nothing():
    model = model_of(Unsaid(12, 5, name="block"))
    for weight in model.get_layer("block").weights:
        weight.assign(weight * 0)
    assert not any(group.name.startswith("block/") for group in channel_groups(model, keep_classes=True))


def test_trying_changes_neither_weights_nor_seeds():
    model = model_of(opaque.Stack(12, name="block"))
    before = [np.asarray(weight) for weight in model.weights]
    keras.utils.set_random_seed(3)
    expected = keras.initializers.RandomNormal()((2,))
    keras.utils.set_random_seed(3)
    channel_groups(model)
    np.testing.assert_array_equal(keras.initializers.RandomNormal()((2,)), expected)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)
