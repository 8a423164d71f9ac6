"""Small models whose costs can be counted by hand, and criteria with known scores."""

import keras
import numpy as np
import pytest

from tests.models import dense_chain

layers = keras.layers

SCORES = (4.0, 1.0, 3.0, 2.0, 0.5, 5.0, 1.5)
"""Of the hand-made model: four units of `a`, three of `b`; they go in the order b0 a1 b2 a3 a2 a0 b1."""


class Fixed:
    """A criterion with known scores."""

    name = "fixed"

    def __init__(self, scores):
        self.values = scores

    def scores(self, model, groups, data=None):
        return np.array(self.values, float)


class Kernels:
    """The sum of the absolute weights of each channel in its making layer, without any normalisation."""

    name = "kernels"

    def scores(self, model, groups, data=None):
        result = np.zeros(groups.channels)
        for group in groups:
            layer = groups.layers[group.layers[0]]
            values = np.abs(np.asarray(layer.kernel)).reshape(-1, layer.kernel.shape[-1]).sum(0)
            out = next(slot for slot in groups.slots[group.layers[0]] if slot.role == "out")
            np.add.at(result, out.channels[out.channels >= 0], values[out.channels >= 0])
        return result


def hand_made() -> keras.Model:
    """FLOPs = parameters = a + a b + 2 b with the widths a = 4 and b = 3: 22 in all."""
    return dense_chain(1, (4, 3, 2), use_bias=False, names=("a", "b", "out"), name="hand_made")


def residual(seed: int = 0) -> keras.Model:
    """Convolutions, batch norms, a sum, a grouped and a depthwise convolution, a nested model, and a dense head."""
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    x = layers.BatchNormalization(name="stem_bn")(x)
    y = layers.Conv2D(12, 3, padding="same", name="inner")(layers.ReLU()(x))
    y = layers.Conv2D(8, 3, padding="same", groups=4, name="grouped")(y)
    x = layers.Add()([x, y])
    inside = keras.Input((6, 6, 8))
    z = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(inside)
    z = layers.Conv2D(10, 1, name="pointwise")(z)
    x = keras.Model(inside, layers.BatchNormalization(name="bn")(z), name="nested")(x)
    x = layers.Flatten()(layers.MaxPooling2D(3)(x))
    model = keras.Model(inputs, layers.Dense(3, name="fc")(x), name="residual")
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        positive = "variance" in variable.path
        variable.assign(rng.uniform(0.5, 1.5, variable.shape) if positive else rng.normal(size=variable.shape))
    return model


@pytest.fixture
def by_hand():
    return hand_made()


@pytest.fixture(scope="session")
def hand():
    """The hand-made model, shared; never to be changed."""
    return hand_made()


@pytest.fixture(scope="session")
def mixed():
    """A model of many kinds of layers, shared; never to be changed."""
    return residual()


@pytest.fixture
def make():
    """Makers of the models, and the criteria."""

    class Make:
        hand_made = staticmethod(hand_made)
        residual = staticmethod(residual)
        fixed = staticmethod(lambda *scores: Fixed(scores or SCORES))
        kernels = Kernels

    return Make
