import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.optimizers import SGD
from tfprune.recipes.training import PeriodicDecay, StepDecay


def by_hand(value, gradients, *, rate, momentum, nesterov, decay):
    velocity = np.zeros_like(value)
    for gradient in gradients:
        gradient = gradient + decay * value
        velocity = momentum * velocity - rate * gradient
        value = value + (momentum * velocity - rate * gradient if nesterov else velocity)
    return value


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.9, False), (0.0, False)])
def test_equals_the_formula(momentum, nesterov, graph):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(4, 3)), rng.normal(size=(5, 4, 3))
    variables = [keras.Variable(start, dtype="float32"), keras.Variable(2 * start[0], dtype="float32")]
    optimizer = SGD(0.1, momentum=momentum, nesterov=nesterov, weight_decay=0.05)
    optimizer.build(variables)
    apply = tf.function(optimizer.apply) if graph else optimizer.apply
    for gradient in gradients:
        apply([tf.constant(gradient, tf.float32), tf.constant(gradient[1], tf.float32)])
    settings = {"rate": 0.1, "momentum": momentum, "nesterov": nesterov, "decay": 0.05}
    np.testing.assert_allclose(variables[0].numpy(), by_hand(start, gradients, **settings), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        variables[1].numpy(), by_hand(2 * start[0], gradients[:, 1], **settings), rtol=1e-5, atol=1e-6
    )
    assert int(optimizer.iterations) == 5


def test_without_decay_it_is_that_of_keras():
    results = []
    for optimizer in (SGD(0.1, 0.9, True), keras.optimizers.SGD(0.1, 0.9, True)):
        variable = keras.Variable(np.ones(3), dtype="float32")
        for gradient in np.random.default_rng(1).normal(size=(6, 3)):
            optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
        results.append(variable.numpy())
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)


def test_decay_is_coupled():
    """One decoupled step from 1 with gradient 0 gives the same, the second differs: decay goes through the momentum."""
    ours, theirs = keras.Variable([1.0]), keras.Variable([1.0])
    coupled, decoupled = SGD(0.1, 0.9, weight_decay=0.5), keras.optimizers.SGD(0.1, 0.9, weight_decay=0.5)
    for _ in range(2):
        coupled.apply([tf.zeros(1)], [ours])
        decoupled.apply([tf.zeros(1)], [theirs])
    assert float(theirs[0]) == pytest.approx(0.9025)
    assert float(ours[0]) == pytest.approx(0.95 - 0.9 * 0.05 - 0.1 * 0.5 * 0.95)


def test_serialises(tmp_path):
    optimizer = SGD(StepDecay(0.1, (0.5,), 0.1, 4, 10), momentum=0.9, nesterov=True, weight_decay=5e-4, clipnorm=1.0)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(copy, SGD)
    assert copy.get_config() == optimizer.get_config()
    assert copy.coupled_weight_decay == 5e-4
    assert copy.weight_decay is None  # else Keras would decay once more
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    model.fit(np.ones((4, 2)), np.ones(4), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").optimizer
    assert loaded.coupled_weight_decay == 5e-4
    np.testing.assert_array_equal(loaded.momentums[0], optimizer.momentums[0])


def test_refuses_a_negative_decay():
    with pytest.raises(ValueError, match="weight_decay"):
        SGD(0.1, weight_decay=-1.0)


def by_hand_in_torch_form(value, gradients, *, rates, momentum, nesterov, decay):
    velocity = np.zeros_like(value)
    for gradient, rate in zip(gradients, rates, strict=True):
        gradient = gradient + decay * value
        velocity = momentum * velocity + gradient
        value = value - rate * (gradient + momentum * velocity if nesterov else velocity)
    return value


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.9, False), (0.0, False)])
def test_torch_form(momentum, nesterov, dtype):
    """The learning rate drops on the way, which is where the forms differ."""
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(4, 3)), rng.normal(size=(6, 4, 3))
    schedule = PeriodicDecay(0.1, 0.1, every_epochs=3, steps_per_epoch=1)
    results = {}
    for form in ("torch", "keras"):
        variable = keras.Variable(start, dtype=dtype)
        optimizer = SGD(schedule, momentum, nesterov, weight_decay=0.05, momentum_form=form)
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient, dtype)], [variable])
        results[form] = variable.numpy()
    rates = [0.1] * 3 + [0.01] * 3
    settings = {"rates": rates, "momentum": momentum, "nesterov": nesterov, "decay": 0.05}
    tolerance = {"float32": 1e-6, "float64": 1e-14}[dtype]
    np.testing.assert_allclose(
        results["torch"], by_hand_in_torch_form(start, gradients, **settings), rtol=tolerance, atol=tolerance
    )
    assert (np.abs(results["torch"] - results["keras"]).max() > 1e-3) == (momentum > 0)


def test_the_forms_agree_at_one_rate():
    results = []
    for form in ("torch", "keras"):
        variable = keras.Variable(np.ones(3), dtype="float32")
        optimizer = SGD(0.1, 0.9, weight_decay=0.01, momentum_form=form)
        for gradient in np.random.default_rng(1).normal(size=(6, 3)):
            optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
        results.append(variable.numpy())
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5)


def test_the_torch_form_serialises():
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(SGD(0.1, 0.9, momentum_form="torch")))
    assert copy.momentum_form == "torch"
    with pytest.raises(ValueError, match="momentum_form: expected keras or torch, received 'pytorch'"):
        SGD(0.1, momentum_form="pytorch")
