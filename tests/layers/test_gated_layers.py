"""The gated layers: batch norm with a gate, and the gate on its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.layers import ChannelGate, FusedBatchNormalization, ScoredBatchNormalization

VALUES = np.random.default_rng(0).normal(size=(8, 5, 5, 6)).astype(np.float32)
UPSTREAM = np.random.default_rng(1).normal(size=(8, 5, 5, 6)).astype(np.float32)


def importance(network, score):
    with tf.GradientTape() as tape:
        tape.watch(score.value)
        loss = tf.reduce_sum(tf.cast(network(VALUES), tf.float32) * UPSTREAM)
    return np.asarray(tape.gradient(loss, score.value))


@pytest.mark.parametrize("rate", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_with_gate_equals_gate_after_relu(rate, training):
    scored, plain, gate = ScoredBatchNormalization(), FusedBatchNormalization(), ChannelGate()
    for layer in (scored, plain, gate):
        layer.build(VALUES.shape)
    rng = np.random.default_rng(2)
    for name in ("gamma", "beta", "moving_mean"):
        value = rng.normal(size=6)
        getattr(scored, name).assign(value)
        getattr(plain, name).assign(value)
    for layer in (scored, gate):
        layer.order.assign([3, 1, 0, 5, 2, 4])
        layer.rate.assign(rate)

    def inside(values):
        return tf.nn.relu(scored(values, training=training))

    def behind(values):
        return gate(tf.nn.relu(plain(values, training=training)))

    kept = np.asarray(scored.channel_mask()) > 0
    assert kept.sum() == max(1, 6 * rate)
    output = np.asarray(inside(VALUES))
    np.testing.assert_allclose(output, behind(VALUES), atol=1e-5)
    assert np.all(output[..., ~kept] == 0)
    received, expected = importance(inside, scored.score), importance(behind, gate.score)
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=2e-5)
    assert np.all(received[kept] > 0)
    assert np.all(received[~kept] == 0)


def test_a_shared_gate_is_one_gate():
    gate = ChannelGate()
    inputs = keras.Input((6,))
    model = keras.Model(inputs, gate(keras.layers.Dense(6, use_bias=False)(gate(inputs))))
    gate.order.assign(np.arange(6))
    gate.rate.assign(0.5)
    assert len([variable for variable in model.variables if "score" in variable.path]) == 1
    output = np.asarray(model(np.ones((2, 6), np.float32)))
    assert np.all(output[:, 3:] == 0)
    assert np.any(output[:, :3] != 0)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_train_save_and_load(tmp_path, policy):
    inputs = keras.Input((5, 5, 6))
    x = ScoredBatchNormalization(dtype=policy, name="scored")(inputs)
    x = ChannelGate(dtype=policy, name="gate")(keras.layers.ReLU()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.get_layer("gate").order.assign(np.arange(6))
    model.get_layer("gate").rate.assign(0.7)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss=loss)
    history = model.fit(VALUES, np.arange(8) % 2, epochs=10, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert np.all(np.asarray(model.get_layer("scored").score) == 0)  # a measurement, not a weight
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(VALUES), model(VALUES))
    assert float(loaded.get_layer("gate").rate) == pytest.approx(0.7)
