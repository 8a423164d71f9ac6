import keras
import numpy as np
import pytest

from tfprune.errors import ConfigError
from tfprune.graph import Forward, channel_groups

layers = keras.layers
X = np.random.default_rng(0).normal(1, 2, (6, 4)).astype("float32")


def forward(model, **settings):
    return Forward(model, channel_groups(model), **settings)


def normalising(training=None):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = layers.BatchNormalization()(layers.Dense(5)(inputs), training=training)
    return keras.Model(inputs, layers.Dense(2)(x))


def test_batch_statistics_leave_the_moving_ones_alone():
    model = normalising()
    before = model.get_weights()
    normed = np.asarray(forward(model, batch_statistics=True)(X))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_allclose(forward(model)(X), model(X, training=False), rtol=1e-6)
    np.testing.assert_allclose(normed, model(X, training=True), rtol=1e-5)  # this one moves them
    assert not np.allclose(before[4], model.get_weights()[4])
    assert not np.allclose(normed, forward(model)(X), rtol=0.1)


def test_the_mode_that_a_call_was_written_with_is_overridden_as_in_keras():
    model = normalising(training=False)
    normed = forward(model, batch_statistics=True)(X)
    np.testing.assert_allclose(normed, model(X, training=True), rtol=1e-5)


def test_dropout_stays_off():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dropout(0.5)(inputs))
    np.testing.assert_array_equal(forward(model, batch_statistics=True)(X), X)


def test_outputs_of_a_model_within_that_is_called_again():
    inner_inputs = keras.Input((4,))
    inner = keras.Model(inner_inputs, layers.Dense(4, activation="tanh")(inner_inputs))
    inputs = keras.Input((4,))
    once = inner(inputs)
    model = keras.Model(inputs, {"once": once, "twice": inner(once)})
    outputs = forward(model)(X)
    expected = model(X)
    for name in ("once", "twice"):
        np.testing.assert_allclose(outputs[name], expected[name], rtol=1e-6)


def test_every_tensor_is_shown():
    model = normalising()
    groups = channel_groups(model)
    seen = {}
    Forward(model, groups)(X, seen.__setitem__)
    expected = {id(tensor): tensor.shape[-1] for call in groups.calls[1:] for tensor in call.outputs}
    assert {tensor: value.shape[-1] for tensor, value in seen.items()} == expected


def test_groups_of_another_model_are_refused():
    with pytest.raises(ConfigError, match="received those of another one"):
        Forward(normalising(), channel_groups(normalising()))


def test_tensors_are_dropped_once_no_call_takes_them():
    inputs = keras.Input((4,))
    x = layers.Dense(4)(inputs)
    model = keras.Model(inputs, layers.Add()([layers.ReLU()(x), x]))
    run = forward(model)
    tensors = run.inputs(X)
    held = []
    for call in run.calls:
        run.run(call, tensors)
        run.forget(call, tensors)
        held.append(len(tensors))
    assert held == [1, 2, 1]
    np.testing.assert_array_equal(next(iter(tensors.values())), model(X))


@pytest.mark.parametrize("steps", [3, None])
def test_models_at_each_point_in_time(steps):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((steps, 4))
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(5), layers.BatchNormalization(), layers.Dense(6)])
    model = keras.Model(inputs, layers.GRU(2)(layers.TimeDistributed(inner)(inputs)))
    values = np.stack([X, 2 * X, X - 1], axis=1)
    np.testing.assert_allclose(forward(model)(values), model(values, training=False), rtol=1e-5, atol=1e-6)
