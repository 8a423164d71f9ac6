"""Layers whose constructor refuses their own configuration are made again from what it takes."""

import keras
import numpy as np
import pytest

from tests.graph.agreement import agrees, is_ordinary, sizes
from tfprune.graph.layer_copies import configuration, copied_layer, remade_layer, why_not_remade

layers = keras.layers


@keras.saving.register_keras_serializable("copies")
class Talkative(layers.Layer):
    """Writes a number into its configuration that it computes itself, and leaves out a factor."""

    def __init__(self, dim, factor=1.0, **settings):
        super().__init__(**settings)
        self.dim, self.factor, self.double = dim, factor, 2 * dim

    def build(self, shape):
        self.table = self.add_weight(shape=(self.dim,), initializer="zeros", name="table")

    def call(self, x):
        return x + self.factor * self.table

    def get_config(self):
        return {**super().get_config(), "dim": self.dim, "double": self.double}


class Hidden(Talkative):
    """Keeps the factor under another name."""

    def __init__(self, dim, factor=1.0, **settings):
        super().__init__(dim, **settings)
        self.strength = factor
        del self.factor

    def call(self, x):
        return x + self.strength * self.table


class Unnamed(Talkative):
    """Takes no name."""

    def __init__(self, dim):
        super().__init__(dim)


def around(layer):
    inputs = keras.Input((5,))
    x = layer(layers.Dense(8, name="make")(inputs))
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def test_a_constructor_is_given_what_it_takes(tmp_path):
    layer = Talkative(8, 3.0, name="talkative")
    model = around(layer)
    with pytest.raises(Exception, match="Unrecognized keyword arguments"):
        Talkative.from_config(layer.get_config())
    assert why_not_remade(layer) is None
    new = remade_layer(layer)
    assert (new.dim, new.factor, new.name, new.dtype_policy) == (8, 3.0, "talkative", layer.dtype_policy)
    small = remade_layer(layer, {"dim": lambda old: old - 5})
    assert (small.dim, small.double) == (3, 6)
    assert Talkative.from_config(small.get_config()).double == 6
    layer.table.assign(np.arange(8.0))
    groups = agrees(model)
    assert sizes(groups) == {"make": 8}
    is_ordinary(model, groups, tmp_path)


def test_the_configuration_of_the_original_stays_as_it_is():
    layer = Talkative(8, 3.0)
    around(layer)
    assert why_not_remade(layer) is None
    assert layer.get_config()["double"] == 16
    assert "double" not in configuration(layer)


@pytest.mark.parametrize(
    ("make", "reason"),
    [(lambda: Hidden(8, 3.0), "Unrecognized keyword"), (lambda: Unnamed(8), "unexpected keyword argument")],
)
def test_a_guess_that_computes_something_else_does_not_pass(make, reason):
    layer = make()
    model = around(layer)
    assert reason in why_not_remade(layer)
    groups = agrees(model, pinned=[(layer.name, "no rule")], power=None)
    assert groups.channels == 0
    copy = copied_layer(layer)
    assert type(copy) is type(layer)
    np.testing.assert_array_equal(copy(np.ones((2, 8))), layer(np.ones((2, 8))))


def test_a_layer_that_was_never_called_is_not_guessed():
    layer = Talkative(8, 3.0)
    layer.build((None, 8))
    assert "Unrecognized keyword" in why_not_remade(layer)
