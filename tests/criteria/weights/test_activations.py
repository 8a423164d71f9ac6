"""Wanda and RIA, against the formulas in plain NumPy."""

import keras
import numpy as np
import pytest

from tfprune.criteria import RIA, Wanda
from tfprune.errors import ConfigError

layers = keras.layers
RNG = np.random.default_rng(0)


def dense():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, name="fc")])
    x = (RNG.normal(size=(40, 6)) * np.arange(1, 7)).astype(np.float32)
    return model, np.abs(np.asarray(model.get_layer("fc").kernel, float)), x


def test_wanda_of_a_dense_layer():
    model, sizes, x = dense()
    scores = sizes * np.linalg.norm(x, axis=0)[:, None]
    found = Wanda().weight_scores(model, data=(x, np.zeros(40)))["fc/kernel"]
    np.testing.assert_allclose(found, scores / np.sqrt(40), rtol=1e-6)
    mask = Wanda()(model, 0.5, (x, np.zeros(40)))["fc/kernel"]
    for channel in range(4):
        assert set(np.flatnonzero(mask[:, channel])) == set(np.argsort(scores[:, channel])[3:])


def test_ria_of_a_dense_layer():
    model, sizes, x = dense()
    norms = np.sqrt(np.square(x).mean(axis=0))[:, None]
    shares = sizes / sizes.sum(axis=0) + sizes / sizes.sum(axis=1, keepdims=True)
    for power in (0.5, 1.0):
        found = RIA(power=power).weight_scores(model, data=(x, np.zeros(40)))["fc/kernel"]
        np.testing.assert_allclose(found, shares * norms**power, rtol=1e-6)
    mask = RIA()(model, 0.25, (x, np.zeros(40)))["fc/kernel"]
    assert set(np.flatnonzero(mask)) == set(np.argsort((shares * norms**0.5).ravel())[-6:])
    with pytest.raises(ConfigError, match="power: expected a number"):
        RIA(power=-1)


def test_a_convolution_is_compared_within_each_filter():
    """Norms are those of each channel at each position of the window, whose borders read zeros."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 4, 2)), layers.Conv2D(3, 3, padding="same", name="conv")])
    images = RNG.normal(size=(10, 4, 4, 2)).astype(np.float32)
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
    norms = np.array(
        [[np.sqrt(np.square(padded[:, i : i + 4, j : j + 4]).mean(axis=(0, 1, 2))) for j in range(3)] for i in range(3)]
    )
    scores = np.abs(np.asarray(model.get_layer("conv").kernel)) * norms[..., None]
    data = (images, np.zeros(10))
    np.testing.assert_allclose(Wanda().weight_scores(model, data=data)["conv/kernel"], scores, rtol=1e-5)
    mask = Wanda()(model, 0.5, data)["conv/kernel"]
    for unit in range(3):
        assert set(np.flatnonzero(mask[..., unit])) == set(np.argsort(scores[..., unit].ravel())[9:])


def test_a_pattern_is_chosen_by_the_scores():
    model, sizes, x = dense()
    scores = sizes * np.linalg.norm(x, axis=0)[:, None]
    mask = Wanda(pattern=(1, 3))(model, 1 / 3, (x, np.zeros(40)))["fc/kernel"]
    expected = np.zeros((2, 3, 4), bool)
    np.put_along_axis(expected, scores.reshape(2, 3, 4).argmax(axis=1, keepdims=True), True, axis=1)
    np.testing.assert_array_equal(mask, expected.reshape(6, 4))
