import keras
import numpy as np
import pytest

from tfprune.errors import ConfigError
from tfprune.pruning.recalibration import Recalibration, recalibrate_batch_norm

layers = keras.layers
RNG = np.random.default_rng(0)
BATCHES = [RNG.standard_normal((rows, 4)).astype(np.float32) for rows in (20, 20, 7)]


def network():
    inputs = keras.Input((4,))
    x = layers.Dense(3, name="dense")(inputs)
    return keras.Model(inputs, layers.BatchNormalization(momentum=0.8, name="norm")(x))


def expected(kernel, bias):
    """The averages over the batches of their means and variances."""
    hidden = [x.astype(np.float64) @ kernel + bias for x in BATCHES]
    return np.mean([each.mean(0) for each in hidden], 0), np.mean([each.var(0) for each in hidden], 0)


def assert_measured(model):
    for found, value in zip(
        model.get_layer("norm").weights[2:], expected(*model.get_layer("dense").weights), strict=True
    ):
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)


def test_the_averages_are_those_of_the_batches_whatever_the_weights_are_now():
    model = network()
    recalibrate = Recalibration(model)
    for _ in range(3):
        model.get_layer("dense").kernel.assign(RNG.standard_normal((4, 3)))
        assert recalibrate({"images": x} for x in BATCHES) == 1
        assert_measured(model)
    assert recalibrate_batch_norm(network(), [{"images": x} for x in BATCHES]) == 1


def test_inputs_in_a_structure():
    inputs = {"left": keras.Input((4,), name="left"), "right": keras.Input((4,), name="right")}
    x = layers.Dense(3, name="dense")(layers.Add()(list(inputs.values())))
    model = keras.Model(inputs, layers.BatchNormalization(momentum=0.8, name="norm")(x))
    recalibrate_batch_norm(model, [{"images": {"left": 0.25 * x, "right": 0.75 * x}} for x in BATCHES])
    assert_measured(model)


def test_frozen_batch_norms_and_mistakes():
    model = network()
    with pytest.raises(ConfigError, match="batches: expected at least one batch, received none"):
        recalibrate_batch_norm(model, [])
    model.get_layer("norm").trainable = False
    before = model.get_layer("norm").get_weights()
    assert recalibrate_batch_norm(model, [{"images": BATCHES[0]}]) == 0
    for old, new in zip(before, model.get_layer("norm").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    inputs = keras.Input((4,))
    fixed = keras.Model(inputs, layers.BatchNormalization(momentum=1.0)(inputs))
    with pytest.raises(ConfigError, match="expected batch norms with a momentum below 1, received one with 1"):
        recalibrate_batch_norm(fixed, [{"images": BATCHES[0]}])
