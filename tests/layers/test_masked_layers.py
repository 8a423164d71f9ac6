"""Layers with a mask on every weight, and those of them with predicted gradients."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.layers import (
    MaskedConv1D,
    MaskedConv2D,
    MaskedConv3D,
    MaskedDense,
    MaskedDepthwiseConv2D,
    PSGConv2D,
    PSGDense,
    PSGDepthwiseConv2D,
)

layers = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(4, 9, 9, 6)).astype(np.float32)

CASES = {
    "conv": (MaskedConv2D, layers.Conv2D, IMAGES, {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same"}),
    "dilated": (MaskedConv2D, layers.Conv2D, IMAGES, {"filters": 5, "kernel_size": 3, "dilation_rate": 2}),
    "groups": (MaskedConv2D, layers.Conv2D, IMAGES, {"filters": 4, "kernel_size": 3, "groups": 2}),
    "first": (MaskedConv2D, layers.Conv2D, IMAGES, {"filters": 3, "kernel_size": 3, "data_format": "channels_first"}),
    "conv1d": (MaskedConv1D, layers.Conv1D, IMAGES[:, 0], {"filters": 4, "kernel_size": 3, "padding": "causal"}),
    "conv3d": (MaskedConv3D, layers.Conv3D, IMAGES[..., None], {"filters": 4, "kernel_size": 3}),
    "depthwise": (MaskedDepthwiseConv2D, layers.DepthwiseConv2D, IMAGES, {"kernel_size": 3, "depth_multiplier": 2}),
    "dense": (MaskedDense, layers.Dense, IMAGES, {"units": 5}),
    "psg conv": (PSGConv2D, layers.Conv2D, IMAGES, {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same"}),
    "psg dilated": (PSGConv2D, layers.Conv2D, IMAGES, {"filters": 5, "kernel_size": 3, "dilation_rate": 2}),
    "psg groups": (PSGConv2D, layers.Conv2D, IMAGES, {"filters": 4, "kernel_size": 3, "groups": 2}),
    "psg depthwise": (PSGDepthwiseConv2D, layers.DepthwiseConv2D, IMAGES, {"kernel_size": 3, "depth_multiplier": 2}),
    "psg dense": (PSGDense, layers.Dense, IMAGES, {"units": 5}),
}


def pair(name, **settings):
    """A masked layer and the stock one with the same weights, biases not zero."""
    masked_class, stock_class, inputs, arguments = CASES[name]
    masked = masked_class(activation="relu", **arguments, **settings)
    stock = stock_class(activation="relu", **arguments)
    stock.build(inputs.shape)
    masked.build(inputs.shape)
    rng = np.random.default_rng(1)
    for variable, same in zip(stock.trainable_variables, masked.trainable_variables, strict=True):
        value = rng.normal(size=variable.shape)
        variable.assign(value)
        same.assign(value)
    return masked, stock, tf.constant(inputs)


def gradients(layer, inputs, mode):
    def step(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
            loss = tf.reduce_sum(tf.square(outputs))
        return outputs, *tape.gradient(loss, [inputs, layer.kernel.value, layer.bias.value])

    step = step if mode == "eager" else tf.function(step, jit_compile=mode == "jit")
    return [np.asarray(value) for value in step(inputs)]


@pytest.mark.parametrize("name", CASES)
def test_a_mask_of_ones_changes_nothing_at_all(name):
    masked, stock, inputs = pair(name)
    np.testing.assert_array_equal(masked(inputs), stock(inputs))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
def test_equals_the_stock_layer_with_zeros(name, mode):
    exact = {"quantize": False, "take_sign": False} if name.startswith("psg") else {}
    masked, stock, inputs = pair(name, **exact)
    mask = np.random.default_rng(2).random(stock.kernel.shape) < 0.4
    masked.mask.assign(mask)
    stock.kernel.assign(np.where(mask, stock.kernel, 0))
    got, want = gradients(masked, inputs, mode), gradients(stock, inputs, "graph")
    want[2] = np.where(mask, want[2], 0)
    assert not got[2][~mask].any()  # exactly
    for each, other in zip(got, want, strict=True):
        np.testing.assert_allclose(each, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("psg")])
@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
def test_predicted_gradients_are_near_the_exact_ones(name, mode):
    exact, _, inputs = pair(name, quantize=False, take_sign=False, input_signed=True)
    rough, _, _ = pair(name, take_sign=False, input_signed=True, input_bits=12)
    signs, _, _ = pair(name, input_signed=True)
    bounded = tf.clip_by_value(inputs, -1.0, 1.0)  # saturation is what tells most
    want, got, sign = (gradients(layer, bounded, mode)[2] for layer in (exact, rough, signs))
    assert 0 < np.abs(got - want).max() < 2e-3 * np.abs(want).max()
    large = np.abs(want) > 0.1 * np.abs(want).max()
    np.testing.assert_array_equal(sign[large], np.sign(want)[large])
    assert set(np.unique(sign)) <= {-1.0, 0.0, 1.0}


def test_thresholds():
    inputs = np.abs(IMAGES)
    plain, _, _ = pair("psg dense", take_sign=False)
    whole = gradients(plain, inputs_of(inputs), "graph")[2]
    top = np.abs(whole).max()
    for settings in ({"relative_threshold": 0.5}, {"absolute_threshold": float(top) * 0.5}):
        sparse, _, _ = pair("psg dense", take_sign=False, sparsify=True, **settings)
        mixed, _, _ = pair("psg dense", take_sign=False, **settings)
        exact, _, _ = pair("psg dense", take_sign=False, quantize=False)
        big = np.abs(whole) >= 0.5 * top
        assert 0 < big.sum() < big.size
        np.testing.assert_array_equal(gradients(sparse, inputs_of(inputs), "graph")[2], np.where(big, whole, 0))
        others = gradients(exact, inputs_of(inputs), "graph")[2]
        np.testing.assert_array_equal(gradients(mixed, inputs_of(inputs), "graph")[2], np.where(big, whole, others))


def test_the_threshold_is_taken_before_the_mask():
    plain, _, inputs = pair("psg dense", take_sign=False, input_signed=True)
    plain.kernel.assign(np.zeros(plain.kernel.shape))  # masks then change nothing about the outputs
    plain.bias.assign(np.arange(1, 6))
    whole = np.abs(gradients(plain, inputs, "graph")[2])
    mask = whole < whole.max()
    layer, _, _ = pair(
        "psg dense", take_sign=False, input_signed=True, sparsify=True, absolute_threshold=None, relative_threshold=0.95
    )
    layer.kernel.assign(plain.kernel)
    layer.bias.assign(plain.bias)
    layer.mask.assign(mask)
    second = whole[mask].max() / whole.max()
    got = gradients(layer, inputs, "graph")[2]
    np.testing.assert_array_equal(got != 0, mask & (whole >= 0.95 * whole.max()))
    assert second < 1


def inputs_of(array):
    return tf.constant(array)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("psg")])
def test_zeros_give_no_nan(name):
    layer, _, inputs = pair(name, relative_threshold=0.1, sparsify=True)
    layer.mask.assign(np.zeros(layer.mask.shape, bool))
    for each in (inputs, tf.zeros_like(inputs)):
        assert all(np.isfinite(value).all() for value in gradients(layer, each, "graph"))
    assert np.isfinite(gradients(layer, inputs * 1e-38, "graph")[2]).all()


def model(policy, family):
    conv, depthwise, dense = {
        "masked": (MaskedConv2D, MaskedDepthwiseConv2D, MaskedDense),
        "psg": (PSGConv2D, PSGDepthwiseConv2D, PSGDense),
    }[family]
    more = {"take_sign": False, "relative_threshold": 1e-7} if family == "psg" else {}
    inputs = keras.Input((9, 9, 6))
    x = conv(8, 3, dtype=policy, name="conv", input_signed=True, **more) if more else conv(8, 3, dtype=policy)
    x = depthwise(3, dtype=policy, activation="relu", **more)(x(inputs))
    return keras.Model(inputs, dense(2, **more)(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("family", ["masked", "psg"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_trains_saves_and_loads(tmp_path, family, policy, jit):
    keras.utils.set_random_seed(0)
    network = model(policy, family)
    sparse = [layer for layer in network.layers if hasattr(layer, "effective_kernel")]
    for layer in sparse:
        layer.mask.assign(RNG.random(layer.mask.shape) < 0.6)
        assert layer.kernel.masked
        assert layer.kernel.dtype == "float32"
    masks = [np.asarray(layer.mask).copy() for layer in sparse]
    before = [layer.kernel.numpy().copy() for layer in sparse]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.SGD(0.1), loss=loss, jit_compile=jit)
    history = network.fit(IMAGES, np.array([0, 1, 0, 1]), epochs=6, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for layer, old, mask in zip(sparse, before, masks, strict=True):
        changed = layer.kernel.numpy() != old
        assert changed[mask].any()
        assert not changed[~mask].any()
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    same = [layer for layer in loaded.layers if hasattr(layer, "effective_kernel")]
    for layer, mask, old in zip(same, masks, sparse, strict=True):
        np.testing.assert_array_equal(layer.mask, mask)
        assert layer.get_config() == old.get_config()
    np.testing.assert_array_equal(loaded(IMAGES), network(IMAGES))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_bits": 1}, "input_bits: expected a whole number from 2 to 32, received 1"),
        ({"gradient_bits": 8.0}, "gradient_bits: expected a whole number"),
        ({"relative_threshold": -1e-7}, "relative_threshold: expected a number of at least 0 and at most 1"),
        ({"relative_threshold": float("nan")}, "relative_threshold: expected a number of at least 0 and at most 1"),
        ({"absolute_threshold": -1.0}, "absolute_threshold: expected a number of at least 0"),
        ({"absolute_threshold": 0.1, "relative_threshold": 0.1}, "expected one threshold, received"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        PSGDense(3, **settings)


@pytest.mark.slow
def test_two_devices_agree_with_one():
    """Masked layers do; PSG layers take scales from each device's own examples, so these must only stay equal."""
    script = Path(__file__).with_name("masked_script.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    runs = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(runs["masked/two"]["losses"], runs["masked/one"]["losses"], rtol=1e-5)
    np.testing.assert_allclose(runs["psg/two"]["losses"], runs["psg/one"]["losses"], rtol=0.02)
    for run in runs.values():
        assert run["losses"][-1] < run["losses"][0]
        assert run["replicas_equal"]
        assert run["masked_kept"]
