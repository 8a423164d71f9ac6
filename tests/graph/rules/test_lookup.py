"""Every layer that Keras exports has a rule, or stands here with what it is instead; rules that are borrowed."""

import keras
import pytest

from tfprune.errors import UnsupportedLayerError
from tfprune.graph import channel_groups, register_rule
from tfprune.graph.rules import lookup
from tfprune.graph.rules.lookup import registered_kinds

CELLS = {"GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"}
"""Have no calls of their own: `RNN` has the rule."""

BASES = {"InputSpec", "Layer", "Wrapper"}
"""Nothing that a model consists of."""

PROBED = {"Lambda"}
"""May compute anything: is tried on random values."""

IMAGES = {"ContrastLimitedAdaptiveHistogramEqualization", "Pipeline"}
"""Prepare images, whose channels nobody removes."""

FOREIGN = {"FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"}
"""Run what is not Keras'; are left alone as layers without a rule."""


def test_every_layer_of_keras():
    known = registered_kinds()
    exported = {name: kind for name, kind in vars(keras.layers).items() if isinstance(kind, type)}
    without = {name for name, kind in exported.items() if kind not in known}
    assert without == CELLS | BASES | PROBED | IMAGES | FOREIGN


class Product(keras.layers.Layer):
    """A dense layer without a bias, whose weight has the name that is given."""

    def __init__(self, units, weight, **arguments):
        super().__init__(**arguments)
        self.units, self.weight, self.bias = units, weight, None

    def build(self, shape):
        setattr(self, self.weight, self.add_weight(shape=(shape[-1], self.units)))

    def call(self, inputs):
        return inputs @ getattr(self, self.weight)


def with_product(weight):
    inputs = keras.Input((6,))
    x = Product(8, weight, name="product")(keras.layers.Dense(10, name="first")(inputs))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def test_a_borrowed_rule_names_the_attribute_that_a_layer_lacks(monkeypatch):
    monkeypatch.setattr(lookup, "_RULES", dict(lookup._RULES))
    register_rule(Product, keras.layers.Dense)
    lacks = r"^product \(Product\): the rule of Dense, .* attribute 'kernel', which the layer lacks; name it so"
    with pytest.raises(UnsupportedLayerError, match=lacks):
        channel_groups(with_product("mix"))
    assert {group.name: group.size for group in channel_groups(with_product("kernel"))} == {"first": 10, "product": 8}


def test_a_layer_with_a_borrowed_rule_counts_as_one_of_that_class(monkeypatch):
    monkeypatch.setattr(lookup, "_RULES", dict(lookup._RULES))
    register_rule(Product, keras.layers.Dense)
    assert lookup.has_rule_of(Product(2, "kernel"), keras.layers.Dense)
    assert lookup.takes_one_tensor(Product(2, "kernel"))


def test_other_errors_of_a_borrowed_rule_are_not_hidden(monkeypatch):
    def broken(labels, call):
        return labels.nothing_of_the_kind

    monkeypatch.setattr(lookup, "_RULES", {**lookup._RULES, keras.layers.Dense: broken})
    register_rule(Product, keras.layers.Dense)
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        channel_groups(with_product("kernel"))
