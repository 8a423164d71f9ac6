"""The sub-network layers against numbers of the original code."""

from fractions import Fraction

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.layers import (
    BinaryActivation,
    GlobalSubnet,
    SubnetConv2D,
    SubnetDense,
    binary_activation,
    collapsed_layers,
    refresh_masks,
    set_density,
    subnet_layers,
)
from tfprune.ops.density import original_kept_count

RATES = (0.2, 0.5, 0.8)
GLOBAL_RATES = (0.2, 0.5, 0.8, 0.9)


@pytest.fixture(scope="module")
def golden(golden_biprop):
    return golden_biprop


def ours(array):
    """From the original's order of axes to Keras': images, then kernels."""
    return np.ascontiguousarray(np.transpose(array, (0, 2, 3, 1)))


def kernel(array):
    return np.ascontiguousarray(np.transpose(array, (2, 3, 1, 0)))


def close(received, expected, tolerance=2e-6):
    np.testing.assert_allclose(np.asarray(received), expected, rtol=1e-6, atol=tolerance)


def layer_of(golden, case, density, **settings):
    weight, stride, padding = golden[f"subnet/{case}/weight"], *golden[f"subnet/{case}/stride_pad"].tolist()
    layer = SubnetConv2D(weight.shape[0], weight.shape[2], strides=stride, density=density, **settings)
    inputs = np.pad(ours(golden[f"subnet/{case}/x"]), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    layer.build(inputs.shape)
    layer.kernel.assign(kernel(weight))
    layer.scores.assign(kernel(golden[f"subnet/{case}/scores"]))
    return layer, tf.constant(inputs), padding


@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("case", ["c3", "s2", "p1"])
def test_forward_and_backward_of_a_layer(golden, case, rate, mode):
    layer, inputs, padding = layer_of(golden, case, rate, original_quirks=True)
    upstream = ours(golden[f"subnet/{case}/gy"])

    def run(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(outputs * upstream)
        variables = [layer.scores.value, inputs, layer.kernel.value]
        return outputs, tape.gradient(loss, variables)

    run = run if mode == "eager" else tf.function(run, jit_compile=mode == "jit")
    outputs, (of_scores, of_inputs, of_kernel) = run(inputs)
    names = ("y", "grad_scores", "grad_x", "w_eff", "kept")
    expected = {name: golden[f"subnet/{case}/pr{rate}/{name}"] for name in names}
    close(outputs, ours(expected["y"]))
    close(of_scores, kernel(expected["grad_scores"]))
    inner = (slice(None), slice(padding, -padding or None), slice(padding, -padding or None))
    close(np.asarray(of_inputs)[inner], ours(expected["grad_x"]))
    assert of_kernel is None
    assert int(np.sum(layer.mask)) == expected["kept"]
    close(layer.effective_kernel(), kernel(expected["w_eff"]), 1e-7)
    close(layer(inputs, training=False), ours(expected["y"]))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("case", ["c3", "s2", "p1"])
def test_alpha_is_the_mean_of_what_is_kept(golden, case, rate):
    """Oddity 1: the original divides by one weight too few wherever `density * size` is not whole."""
    layer, _, _ = layer_of(golden, case, rate)
    layer.select()
    names = ("kept", "num_unpruned", "alpha")
    kept, divisor, alpha = (float(golden[f"subnet/{case}/pr{rate}/{name}"]) for name in names)
    ours_alpha = np.abs(np.asarray(layer.effective_kernel())).max()
    mask = np.asarray(layer.mask)
    assert mask.sum() == mask.size - int((1 - Fraction(str(rate))) * mask.size)
    if mask.sum() == kept:  # they keep one weight more where (1 - density) * size comes out just below a whole number
        assert ours_alpha == pytest.approx(alpha * divisor / kept, rel=1e-6)
    assert ours_alpha == pytest.approx(np.abs(np.asarray(layer.kernel))[mask].mean(), rel=1e-6)


def test_counts(golden):
    for size, rate, _, kept, divisor, alpha in golden["counts/table"]:
        count = max(1, original_kept_count(int(size), rate))
        if divisor:  # the original counts what is not 0, NaN included
            assert count == kept, (size, rate)
            assert alpha == pytest.approx(kept / divisor)
        else:
            assert count == int(size) - int((1 - rate) * size)


def test_ties_are_kept_by_position_and_counts_stay_exact(golden):
    """Oddities 3, 8 and 9: which of equal scores stays was undefined, and a global threshold dropped them all."""
    scores = golden["ties/scores"]
    for scope in ("layer", "global"):
        inputs = keras.Input((8,))
        layer = SubnetDense(1, density=0.5, scope=scope)
        model = GlobalSubnet(inputs, layer(inputs))
        layer.kernel.assign(golden["ties/weight"][:, None])
        layer.scores.assign(scores[:, None])
        refresh_masks(model)
        expected = np.zeros(8, bool)
        expected[np.argsort(-np.abs(scores), kind="stable")[:4]] = True
        np.testing.assert_array_equal(np.asarray(layer.mask)[:, 0], expected)
        assert expected.sum() == np.count_nonzero(golden["ties/quantnet_pr0.5"])
        set_density(model, 1.0)  # the original keeps nothing then, if the scope is global
        assert np.asarray(layer.mask).all()
        close(layer.effective_kernel()[:, 0], golden["ties/pr1"] * np.sign(golden["ties/weight"]), 1e-7)


def test_fixed(golden):
    weight, scores, mask = (golden[f"fixed/{name}"] for name in ("weight", "scores", "pr0.2_mask"))
    layer = SubnetConv2D(4, 3, density=0.2, selection="fixed", original_quirks=True)
    layer.build((None, 8, 8, 3))
    layer.kernel.assign(kernel(weight))
    layer.scores.assign(kernel(scores))
    layer.select()
    np.testing.assert_array_equal(layer.mask, kernel(mask).astype(bool))
    np.testing.assert_array_equal(layer.effective_kernel(training=True), kernel(weight * mask))
    assert not layer.trainable_variables
    sensible = SubnetConv2D(4, 3, density=0.2, selection="fixed")
    sensible.build((None, 8, 8, 3))
    assert np.sum(sensible.mask) == 108 - int(0.8 * 108)


def global_net(golden, density):
    inputs = keras.Input((6, 6, 3))
    settings = {"density": density, "scope": "global"}
    x = keras.layers.ReLU()(SubnetConv2D(4, 3, padding="same", **settings)(inputs))
    x = keras.layers.ZeroPadding2D(1)(x)
    x = keras.layers.ReLU()(SubnetConv2D(6, 3, strides=2, **settings)(x))
    model = GlobalSubnet(inputs, SubnetConv2D(10, 1, **settings)(x))
    for place, layer in enumerate(subnet_layers(model)):
        layer.kernel.assign(kernel(golden[f"global/w{place}"]))
        layer.scores.assign(kernel(golden[f"global/s{place}"]))
    return model


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("rate", GLOBAL_RATES)
def test_global_selection(golden, rate, jit):
    model = global_net(golden, rate)
    layers = subnet_layers(model)
    inputs, upstream = tf.constant(ours(golden["global/x"])), ours(golden["global/gy"])

    @tf.function(jit_compile=jit)
    def run():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = model(inputs, training=True)
            loss = tf.reduce_sum(outputs * upstream)
        return outputs, tape.gradient(loss, [inputs] + [layer.scores.value for layer in layers])

    outputs, (of_inputs, *of_scores) = run()
    expected = golden.section(f"global/pr{rate}/")
    close(outputs, ours(expected["y"]))
    close(of_inputs, ours(expected["grad_x"]))
    for place, layer in enumerate(layers):
        close(of_scores[place], kernel(expected[f"grad_s{place}"]))
        quantnet = kernel(expected[f"q{place}"])
        np.testing.assert_array_equal(layer.mask, quantnet != 0)
        close(np.abs(layer.effective_kernel()), quantnet, 1e-7)
        assert np.sum(layer.mask) == expected["kept"][place]
        pruned = 100 * (1 - np.mean(layer.mask))
        assert pruned == pytest.approx(expected["percent_pruned_per_layer"][place], rel=1e-6)
    kept = np.concatenate([np.abs(np.asarray(layer.scores))[np.asarray(layer.mask)] for layer in layers])
    assert kept.min() > expected["threshold"]
    close(model(inputs, training=False), ours(expected["y"]))


def test_a_collapsed_layer_gives_zeros_and_is_named(golden):
    """Oddity 4: the original gives NaN and reports the layer as not pruned at all."""
    model = global_net(golden, 0.05)
    assert np.isnan(golden["global/pr0.05/y"]).all()
    refresh_masks(model)
    kept = [int(np.sum(layer.mask)) for layer in subnet_layers(model)]
    assert kept == [0, 0, 384 - int(0.95 * 384)]
    assert collapsed_layers(model) == [layer.name for layer in subnet_layers(model)[:2]]
    assert np.all(np.asarray(model(ours(golden["global/x"]), training=True)) == 0)


@pytest.mark.parametrize("function", [BinaryActivation(), binary_activation, tf.function(binary_activation)])
def test_binary_activation(golden, function):
    values = tf.constant(golden["binact/x"])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(values)
        outputs = function(values)
        loss = tf.reduce_sum(outputs * golden["binact/gy"])
    np.testing.assert_array_equal(outputs, golden["binact/y"])
    close(tape.gradient(loss, values), golden["binact/gx"], 1e-7)
    close(tape.gradient(outputs, values), golden["binact/derivative"], 1e-7)


def test_the_other_binary_activation_of_the_original_is_the_same(golden):
    values = tf.constant(golden["binact/builder_variant_x"])
    with tf.GradientTape() as tape:
        tape.watch(values)
        outputs = binary_activation(values)
    np.testing.assert_allclose(outputs, golden["binact/builder_variant_y"], atol=1e-6)
    np.testing.assert_allclose(tape.gradient(outputs, values), golden["binact/builder_variant_derivative"], atol=1e-6)
