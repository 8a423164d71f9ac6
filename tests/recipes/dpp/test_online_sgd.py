import numpy as np
import pytest
import tensorflow as tf

from tfprune.dpp import activation
from tfprune.recipes.dpp.online_sgd import online_sgd


@pytest.mark.parametrize("mode", ["normal", "soft_committee"])
def test_steps_of_the_original(golden, mode):
    weights, outgoing = golden[f"sgd/{mode}/w1_0"], golden[f"sgd/{mode}/w2_0"][0]
    inputs, labels = golden["data/inputs"].T, golden["data/labels"]
    rate, learn = tf.constant(0.5), mode == "normal"
    one = online_sgd(weights, outgoing, inputs[:1], labels[:1], rate, "erf", learn)
    np.testing.assert_allclose(one[0], golden[f"sgd/{mode}/w1_1"], atol=5e-6)
    np.testing.assert_allclose(one[1], golden[f"sgd/{mode}/w2_1"][0], atol=5e-6)
    more = online_sgd(one[0], one[1], inputs[:20], labels[:20], rate, "erf", learn)
    np.testing.assert_allclose(more[0], golden[f"sgd/{mode}/w1_21"], atol=3e-5)
    np.testing.assert_allclose(more[1], golden[f"sgd/{mode}/w2_21"][0], atol=3e-5)
    assert np.array_equal(more[1], outgoing) == (mode == "soft_committee")


@pytest.mark.parametrize("name", ["erf", "sigmoid", "relu"])
def test_a_step_is_the_gradient_of_half_the_squared_error(name):
    rng = np.random.default_rng(0)
    weights, outgoing = rng.standard_normal((3, 8)), rng.standard_normal(3)
    x, y, step = rng.standard_normal(8), 0.3, 1e-5

    def loss(w, v):
        return (activation(name)(w @ x / np.sqrt(8)) @ v - y) ** 2 / 2

    parts = (weights, outgoing, x[None], np.array([y]))
    new = online_sgd(*(tf.constant(part, tf.float32) for part in parts), tf.constant(1.0), name, True)
    for index in np.ndindex(3, 8):
        change = np.zeros((3, 8))
        change[index] = step
        slope = (loss(weights + change, outgoing) - loss(weights - change, outgoing)) / (2 * step)
        assert weights[index] - new[0].numpy()[index] == pytest.approx(slope, abs=2e-5)
    for index in range(3):
        change = step * np.eye(3)[index]
        slope = (loss(weights, outgoing + change) - loss(weights, outgoing - change)) / (2 * step)
        assert outgoing[index] - new[1].numpy()[index] == pytest.approx(slope / 8, abs=2e-6)
    assert float(new[2]) == pytest.approx(loss(weights, outgoing), rel=1e-5)
