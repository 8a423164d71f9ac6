"""Ramps, rates and losses of the multi-prize tickets against numbers of the original code."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.graph import convert
from tfprune.layers import subnet_layers
from tfprune.recipes.training.objectives import Consistency, CrossEntropy
from tfprune.recipes.training.schedules import DensityRamp, EpochRates
from tfprune.recipes.training.train import SubnetCallback


@pytest.fixture(scope="module")
def golden(golden_biprop):
    return golden_biprop


def test_ramps(golden):
    checked = 0
    for name, expected in golden.section("schedule/").items():
        kind, final, *epochs = name.replace("resume_at_", "resume").split("_")
        final, epochs = float(final.removeprefix("final")), int(epochs[0].removeprefix("E"))
        first = int(kind.removeprefix("resume")) if kind.startswith("resume") else 0
        ramp = DensityRamp(final, 0 if kind == "SubnetConv" else epochs)
        received = [ramp(first + index) for index in range(len(expected))]
        np.testing.assert_allclose(received, expected, rtol=0, atol=1e-12, err_msg=name)
        checked += 1
    assert checked == 12
    with pytest.raises(ConfigError, match="final: expected a number above 0 and at most 1, received 0"):
        DensityRamp(0, 10)
    with pytest.raises(ConfigError, match=r"epochs: expected a whole number from 0 to .*, received -1"):
        DensityRamp(0.2, -1)


RATES = {
    "cosine_lr_0.1_ep100": (0.1, "cosine", 100, {}),
    "cosine_lr_0.256_ep100_warm5": (0.256, "cosine", 100, {"warmup": 5}),
    "constant_lr_0.1_warm3": (0.1, "constant", 10, {"warmup": 3}),
    "multistep_lr_0.1_adj20_gamma0.1": (0.1, "multistep", 100, {}),
} | {
    f"{name}_lr_0.1_ep100": (0.1, name, 100, {})
    for name in ("xnor", "mpt132_w34_2", "mpt11_w34_2_v2", "mpt11_w18_2", "mpt11_w18_2_v2", "cos_multi")
}


def test_rates(golden):
    assert {f"lr/{name}" for name in RATES} == {name for name in golden if name.startswith("lr/")}
    for name, (base, policy, epochs, settings) in RATES.items():
        rates = EpochRates(base, policy, epochs, 4, **settings)
        expected = golden[f"lr/{name}"]
        np.testing.assert_allclose([rates.rate(epoch) for epoch in range(epochs)], expected, rtol=1e-12, atol=1e-17)
        steps = [float(rates(step)) for step in range(4 * epochs)]
        np.testing.assert_allclose(steps, np.repeat(expected, 4), rtol=1e-6, atol=1e-9)
        again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(rates))
        assert again.get_config() == rates.get_config()
    with pytest.raises(ConfigError, match="policy: expected one of constant, cosine"):
        EpochRates(0.1, "cosine_lr", 10, 4)
    with pytest.raises(ConfigError, match=r"epochs: expected a whole number from 0 to .*, received -3"):
        EpochRates(0.1, "cosine", -3, 4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.2])
def test_label_smoothing(golden, smoothing):
    loss, metrics = CrossEntropy(smoothing)(tf.constant(golden["loss/logits"]), {"labels": golden["loss/labels"]})
    assert float(loss) / 6 == pytest.approx(float(golden[f"loss/label_smoothing_{smoothing}"]), rel=1e-6)
    assert float(metrics["loss"][0]) == float(loss)
    with pytest.raises(ConfigError, match="label_smoothing: expected a number of at least 0 and below 1, received 1"):
        CrossEntropy(1)


def test_divergence(golden):
    logits = tf.constant(golden["loss/jsd_logits_clean_aug1_aug2"])
    batch = {"images": np.zeros((4, 3, 2, 2, 1), np.float32), "labels": golden["loss/jsd_labels"]}
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss, metrics = Consistency()(logits, batch)
    assert float(loss) / 4 == pytest.approx(float(golden["loss/jsd_total"]), rel=1e-6)
    clean = float(loss) - 12 * float(metrics["divergence"][0])
    assert clean / 4 == pytest.approx(float(golden["loss/jsd_ce_part"]), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, logits) / 4, golden["loss/jsd_grad_logits"], atol=2e-6)
    views = np.arange(24).reshape(2, 3, 2, 2, 1)
    np.testing.assert_array_equal(Consistency().inputs({"images": tf.constant(views)})[2], views[0, 1])
    with pytest.raises(ConfigError, match="expected images in several views"):
        Consistency().inputs({"images": tf.zeros((2, 4, 4, 3))})


def test_subnet_callback():
    inputs = keras.Input((8,))
    plain = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(25)(inputs)))
    model = convert(plain, "subnet", density=0.5, scope="global", seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1.0), loss=loss)
    kept = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kept.append(sum(int(np.sum(layer.mask)) for layer in subnet_layers(self.model)))

    images, labels = np.random.default_rng(0).normal(size=(8, 8)), np.arange(8) % 2
    ramp = DensityRamp(0.1, epochs=2)
    model.fit(images, labels, epochs=4, verbose=0, callbacks=[SubnetCallback(ramp), Watch()])
    assert kept == [250 - int((1 - ramp(epoch)) * 250) for epoch in range(4)] == [125, 38, 25, 25]
    scores = np.concatenate([np.abs(np.asarray(layer.scores)).ravel() for layer in subnet_layers(model)])
    masks = np.concatenate([np.asarray(layer.mask).ravel() for layer in subnet_layers(model)])
    assert scores[masks].min() >= scores[~masks].max()
