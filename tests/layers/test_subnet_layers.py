"""Sub-network layers in Keras models: training, files, devices, errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.layers import (
    BinaryActivation,
    GlobalSubnet,
    SubnetConv2D,
    SubnetDense,
    SubnetDepthwiseConv2D,
    global_selection,
    refresh_masks,
    set_density,
    subnet_layers,
)
from tfprune.recipes.training import predict_logits

layers = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(16, 9, 9, 6)).astype(np.float32)
LABELS = (IMAGES.mean((1, 2, 3)) > 0).astype(int)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
CASES = {
    "conv": (SubnetConv2D, layers.Conv2D, {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same"}),
    "dilated": (SubnetConv2D, layers.Conv2D, {"filters": 5, "kernel_size": 3, "dilation_rate": 2}),
    "groups": (SubnetConv2D, layers.Conv2D, {"filters": 6, "kernel_size": 3, "groups": 3}),
    "depthwise": (SubnetDepthwiseConv2D, layers.DepthwiseConv2D, {"kernel_size": 3, "depth_multiplier": 2}),
    "dense": (SubnetDense, layers.Dense, {"units": 5}),
}


def network(scope="layer", policy=None, density=0.3):
    def settings(name):
        return {"density": density, "scope": scope, "seed": len(name), "dtype": policy, "name": name}

    inputs = keras.Input((9, 9, 6))
    x = layers.ReLU()(SubnetConv2D(16, 3, **settings("conv"))(inputs))
    x = BinaryActivation(dtype=policy)(SubnetDepthwiseConv2D(3, **settings("depthwise"))(x))
    x = layers.GlobalAveragePooling2D()(x)
    return GlobalSubnet(inputs, SubnetDense(2, **settings("dense"))(x))


def kept(model):
    return [int(np.sum(layer.mask)) for layer in subnet_layers(model)]


@pytest.mark.parametrize("name", CASES)
def test_equals_the_stock_layer_with_the_effective_kernel(name):
    subnet_class, stock_class, arguments = CASES[name]
    subnet = subnet_class(density=0.4, activation="relu", use_bias=True, seed=1, **arguments)
    stock = stock_class(activation="relu", **arguments)
    stock(IMAGES)
    subnet(IMAGES)
    subnet.bias.assign(np.arange(subnet.bias.shape[0]))
    stock.kernel.assign(subnet.effective_kernel())
    stock.bias.assign(subnet.bias)
    np.testing.assert_allclose(subnet(IMAGES), stock(IMAGES), rtol=1e-5, atol=1e-5)
    size = np.prod(subnet.kernel.shape)
    assert np.sum(subnet.mask) == size - int(0.6 * size)
    assert [variable.path.split("/")[-1] for variable in subnet.trainable_variables] == ["bias", "scores"]


@pytest.mark.parametrize("name", ["conv", "groups", "depthwise"])
def test_gradients_of_all_kinds_reach_the_scores(name):
    subnet_class, stock_class, arguments = CASES[name]
    subnet, stock = subnet_class(seed=1, **arguments), stock_class(use_bias=False, **arguments)
    stock(IMAGES)
    subnet(IMAGES)
    stock.kernel.assign(subnet.effective_kernel())
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(subnet(IMAGES, training=True) ** 2)
    received = tape.gradient(loss, subnet.scores.value)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(stock(IMAGES) ** 2)
    of_kernel = tape.gradient(loss, stock.kernel.value)
    expected = of_kernel * np.asarray(subnet.kernel) * np.sign(subnet.scores)
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)
    assert np.count_nonzero(np.asarray(received)[~np.asarray(subnet.mask)])


def test_scores_start_uniform_in_the_fan_and_weights_of_he():
    for layer, fan in (
        (SubnetConv2D(64, 3, seed=0), 9 * 64),
        (SubnetDepthwiseConv2D(5, depth_multiplier=40, seed=0), 25),
    ):
        layer.build((None, 9, 9, 64))
        scores = np.asarray(layer.scores) * fan**0.5
        assert 0.99 < scores.max() <= 1
        assert -1 <= scores.min() < -0.99
        assert scores.std() == pytest.approx(3**-0.5, rel=0.02)
    conv = SubnetConv2D(64, 3)
    conv.build((None, 9, 9, 64))
    assert np.std(conv.kernel) == pytest.approx((2 / 576) ** 0.5, rel=0.02)


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize(
    ("policy", "jit"), [(None, False), pytest.param(None, True, marks=pytest.mark.slow), ("mixed_bfloat16", False)]
)
def test_fit(scope, policy, jit):
    keras.utils.set_random_seed(0)
    model = network(scope, policy)
    before, masks, start = (
        model.get_weights(),
        [np.asarray(layer.mask).copy() for layer in subnet_layers(model)],
        kept(model),
    )
    model.compile(keras.optimizers.SGD(1.0, 0.9), loss=LOSS, jit_compile=jit)
    history = model.fit(IMAGES, LABELS, batch_size=16, epochs=12, verbose=0).history["loss"]
    assert min(history) < history[0] - 0.02
    sizes = [np.prod(layer.mask.shape) for layer in subnet_layers(model)]
    if scope == "layer":
        assert kept(model) == start == [size - int(0.7 * size) for size in sizes]
    assert sum(kept(model)) == sum(start)
    assert any(np.any(old != np.asarray(layer.mask)) for old, layer in zip(masks, subnet_layers(model), strict=True))
    for old, variable in zip(before, model.weights, strict=True):
        if variable.path.endswith("kernel"):
            np.testing.assert_array_equal(old, variable)
    assert {variable.path.split("/")[-1] for variable in model.trainable_variables} == {"scores"}


def test_training_works_with_the_masks_of_the_present_scores():
    model = network("global")
    scores = [np.asarray(layer.scores).copy()[..., ::-1] * 3 for layer in subnet_layers(model)]
    for layer, value in zip(subnet_layers(model), scores, strict=True):
        layer.scores.assign(value)
    stale = model(IMAGES, training=False)
    trained = model(IMAGES, training=True)
    assert np.abs(np.asarray(stale) - trained).max() > 1e-3
    np.testing.assert_array_equal(model(IMAGES, training=False), trained)
    with global_selection(subnet_layers(model)):
        np.testing.assert_array_equal(subnet_layers(model)[0](IMAGES, training=True).shape, (16, 7, 7, 16))


def test_evaluation_selects_nothing():
    model = network("global")

    def operations(training):
        function = tf.function(lambda images: model(images, training=training))
        graph = function.get_concrete_function(tf.TensorSpec(IMAGES.shape)).graph.as_graph_def()
        nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
        return [node.op for node in nodes]

    assert sum("While" in name for name in operations(True)) == 1
    assert not any("While" in name or "Sort" in name or "TopK" in name for name in operations(False))


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_file_holds_the_masks_and_needs_no_more_than_the_package(tmp_path, scope):
    model = network(scope)
    set_density(model, 0.15)
    for layer in subnet_layers(model):  # scores that the masks do not follow: nothing may refresh them
        layer.scores.assign(np.asarray(layer.scores).copy()[..., ::-1])
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", IMAGES)
    code = (
        "import tfprune.layers, keras, numpy as np, sys\n"
        "model = keras.models.load_model(sys.argv[1] + '/model.keras')\n"
        "np.save(sys.argv[1] + '/outputs.npy', model(np.load(sys.argv[1] + '/images.npy')))\n"
        "print(type(model).__name__, [int(np.sum(v)) for v in model.variables if v.path.endswith('mask')])\n"
        "print(float(model.layers[-1].density.numpy()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [f"GlobalSubnet {kept(model)}", "0.15"]
    np.testing.assert_array_equal(np.load(tmp_path / "outputs.npy"), model(IMAGES))


def test_set_density():
    model = network("global")
    sizes = [np.prod(layer.mask.shape) for layer in subnet_layers(model)]
    for density in (0.5, 0.05, 1.0, 1e-12):
        set_density(model, density)
        assert sum(kept(model)) == max(1, sum(sizes) - int((1 - density) * sum(sizes)))
    with pytest.raises(ConfigError, match=r"above 0 and at most 1, received 0"):
        set_density(model, 0)


def test_frozen_layers_keep_their_masks():
    model = network("global")
    for layer in subnet_layers(model):
        layer.scores.assign(np.asarray(layer.scores).copy()[..., ::-1])
    model.trainable = False
    before = kept(model)
    model(IMAGES, training=True)
    assert kept(model) == before
    refresh_masks(model)


def test_sampled():
    odds = keras.initializers.Constant(np.log(3))
    layer = SubnetDense(400, selection="sampled", score_initializer=odds, seed=3)
    layer.build((None, 100))
    first, second = np.asarray(layer.effective_kernel()), np.asarray(layer.effective_kernel())
    assert np.mean(first != 0) == pytest.approx(0.75, abs=0.01)
    assert np.any(first != second)
    np.testing.assert_array_equal(first[first != 0], np.asarray(layer.kernel)[first != 0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer.effective_kernel())
    expected = np.asarray(layer.kernel) * 0.75 * 0.25
    np.testing.assert_allclose(tape.gradient(loss, layer.scores.value), expected, rtol=1e-5, atol=1e-8)
    again = SubnetDense.from_config(layer.get_config())
    again.build((None, 100))
    np.testing.assert_array_equal(again.scores, layer.scores)


@pytest.mark.parametrize("density", [0, -1, 1.5, float("nan"), "half", True])
def test_densities_out_of_range_are_refused(density):
    with pytest.raises(ConfigError, match=r"density: expected a number above 0 and at most 1, received"):
        SubnetDense(4, density=density)


def test_other_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="scope: expected layer or global, received 'model'"):
        SubnetDense(4, scope="model")
    with pytest.raises(ConfigError, match="selection: expected top, sampled or fixed, received 'best'"):
        SubnetDense(4, selection="best")
    inputs = keras.Input((8,))
    outputs = SubnetDense(4, density=0.2, scope="global")(SubnetDense(4, scope="global")(inputs))
    with pytest.raises(
        ConfigError, match=r"expected one density in all layers of the scope global, received 0\.2, 0\.5"
    ):
        GlobalSubnet(inputs, outputs)
    alone = keras.Model(inputs, outputs)
    alone(np.ones((2, 8)))
    with pytest.raises(ConfigError, match=r"make the model a tfprune\.layers\.GlobalSubnet"):
        alone(np.ones((2, 8)), training=True)


def test_snapshots_do_not_disturb_training():
    model = network("global")
    expected = np.asarray(model(IMAGES))
    np.testing.assert_allclose(predict_logits(model, [{"images": IMAGES}]), expected, atol=1e-6)


@pytest.fixture(scope="module")
def runs():
    script = Path(__file__).with_name("subnet_script.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_devices_and_compilers_agree(runs, scope):
    one = runs[f"{scope}/one/off"]
    for name in ("one/on", "two/off", "two/on"):
        other = runs[f"{scope}/{name}"]
        np.testing.assert_allclose(other["losses"], one["losses"], rtol=1e-5)
        assert other["refreshed"] == one["refreshed"]
        for masks, expected in zip(other["masks"], one["masks"], strict=True):
            assert masks == expected * len(masks)
    sizes = [216, 32]
    whole = [size - int(0.7 * size) for size in sizes]
    assert one["refreshed"] == whole if scope == "layer" else sum(one["refreshed"]) == 248 - int(0.7 * 248)
