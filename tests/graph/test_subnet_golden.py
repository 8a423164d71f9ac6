"""Sub-networks of whole networks against numbers of the original code: logits, gradients, training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.recipes.models.test_golden_biprop import build
from tests.recipes.models.torch_names import flattened_shape, registration_order, to_keras
from tfprune.graph.subnet import SubnetOptions, subnet_model
from tfprune.layers import FrozenBatchNormalization, refresh_masks
from tfprune.optimizers import SGD
from tfprune.recipes.training import CrossEntropy, Loop

NARROW = {"Conv4Wide": "narrow", "Conv4Wide_BinAct": "narrow_binact"}


@pytest.fixture(scope="module")
def golden(golden_biprop):
    return golden_biprop


def recipe(base, index, shape):
    """Weights and scores of one convolution, in the original's order of axes."""
    fan_in = np.prod(shape[1:])
    random = np.random.RandomState(base + index)
    weights = random.randn(*shape) * np.sqrt(2 / fan_in)
    return weights.astype(np.float32), ((2 * random.rand(*shape) - 1) / np.sqrt(fan_in)).astype(np.float32)


def kernels(model):
    return registration_order(model, "kernel")


def keras_array(model, layer, array):
    """An array of the original's shape in the order of the layer's kernel."""
    if len(layer.kernel.shape) == 2:
        return to_keras(array[:, :, 0, 0], flattened_shape(model, layer))
    return to_keras(array)


def network(name, base=1000, weights_only=False, batch_norm="fixed", width_multiplier=1.0, **options):
    plain = build(name, init="ones", classifier_init="ones", batch_norm=batch_norm, width_multiplier=width_multiplier)
    model = subnet_model(plain, SubnetOptions(original_quirks=True, **options))
    for index, layer in enumerate(kernels(model)):
        shape = layer.kernel.shape
        shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else (shape[1], shape[0], 1, 1)
        for variable, array in zip((layer.kernel, layer.scores), recipe(base, index, shape), strict=True):
            variable.assign(keras_array(model, layer, array))
    refresh_masks(model)
    return model


def narrow(name="Conv4Wide", base=2000, **options):
    return network(name, base, width_multiplier=0.125, **options)


def images(array):
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))


def close(received, expected, tolerance):
    np.testing.assert_allclose(np.asarray(received), expected, rtol=0, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_conv4(golden, scope):
    model = network("Conv4", scope=scope)
    for rate in (0.2, 0.5, 0.8) if scope == "layer" else (0.2, 0.5):
        for layer in kernels(model):
            layer.density.assign(np.float64(rate))
        refresh_masks(model)
        key = f"forward/Conv4/{'layerwise' if scope == 'layer' else 'global'}_pr{rate}"
        close(model(images(golden["forward/x"])), golden[key], 2e-6)
        effective = [np.abs(layer.effective_kernel()).max() for layer in kernels(model)]
        if scope == "layer":
            np.testing.assert_allclose(effective, golden[f"{key}_alpha"], rtol=1e-5)
        else:
            kept = np.array([int(np.sum(layer.mask)) for layer in kernels(model)])
            total = sum(int(np.prod(layer.mask.shape)) for layer in kernels(model))
            assert kept.sum() == total - int((1 - rate) * total)
            # The original drops all scores that equal the threshold.
            assert 0 <= (kept - golden[f"{key}_kept"]).sum() <= 2
            smallest = min(np.abs(np.asarray(layer.scores))[np.asarray(layer.mask)].min() for layer in kernels(model))
            assert smallest >= golden[f"{key}_threshold"]


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8])
def test_gradients_of_a_narrow_conv4(golden, rate):
    model = narrow(density=rate)
    names = {str(name): layer for name, layer in zip(golden["narrow/conv_names"], kernels(model), strict=True)}
    for name, layer in names.items():
        np.testing.assert_array_equal(layer.scores, keras_array(model, layer, golden[f"narrow/init/{name}.scores"]))
        np.testing.assert_array_equal(layer.kernel, keras_array(model, layer, golden[f"narrow/init/{name}.weight"]))
    with tf.GradientTape() as tape:
        logits = model(images(golden["train/x"]), training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(golden["train/y"], logits)
        loss = tf.reduce_mean(losses)
    close(logits, golden[f"narrow/pr{rate}/logits"], 2e-6)
    close(loss, golden[f"narrow/pr{rate}/loss"], 1e-6)
    gradients = dict(zip(names, tape.gradient(loss, [layer.scores.value for layer in names.values()]), strict=True))
    compared = [name for name in names if f"narrow/pr{rate}/grad_scores/{name}" in golden]
    assert len(compared) == (7 if rate == 0.5 else 2)
    for name in compared:
        expected = keras_array(model, names[name], golden[f"narrow/pr{rate}/grad_scores/{name}"])
        close(gradients[name], expected, 1e-6)


def train(golden, tag, model, optimizer, *, factor=1.0, examples=16):
    """Trains on one batch; returns the loss of each step, and the original's."""
    loop = Loop(model, optimizer, CrossEntropy(), global_batch_size=examples)
    batch = {
        "images": images(golden["train/x"][:examples]) * np.float32(factor),
        "labels": golden["train/y"][:examples],
    }
    expected = golden[f"train/{tag}/loss_per_step"]
    return [loop.train_step(batch)["loss"] for _ in expected], expected


def test_adam(golden):
    """PyTorch's epsilon is `sqrt(1 - beta_2 ** step)` times Keras'; gradients are large at first."""
    tag = "adam_layerwise_pr0.8_x_times_5_3steps"
    model = narrow(density=0.8)
    losses, expected = train(golden, tag, model, keras.optimizers.Adam(0.1, epsilon=3e-10), factor=5.0)
    np.testing.assert_allclose(losses[:2], expected[:2], rtol=0, atol=2e-6)
    assert losses[2] == pytest.approx(expected[2], abs=1e-3)


@pytest.mark.slow
def test_learned_batch_norm(golden):
    """The original spares batch norms from decay by their names, and so not those of the shortcuts."""
    tag = "sgd_learn_bn_cResNet20_pr0.5"
    model = network("cResNet20", density=0.5, batch_norm="affine", learn_batchnorm=True)
    for layer in model.layers:
        if hasattr(layer, "moving_mean"):
            layer.unbiased_variance = True
    optimizer = SGD(0.1, 0.9, weight_decay=5e-4)
    spared = [v for v in model.trainable_variables if "bn" in v.path and not v.path.split("/")[0].endswith("bn3")]
    optimizer.exclude_from_weight_decay(var_list=spared)
    losses, expected = train(golden, tag, model, optimizer)
    # From the third step on weights near the threshold are kept by the one and not by the other, for rounding.
    np.testing.assert_allclose(losses[:2], expected[:2], rtol=0, atol=5e-6)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=0.15)


def test_binary_activations_without_pooling(golden):
    model = network("cResNet20_BinAct", density=0.5)
    with tf.GradientTape() as tape:
        logits = model(images(golden["forward/x"]), training=True)
        labels = golden["binact_resnet20/labels"]
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    close(logits, golden["binact_resnet20/logits_train"], 2e-6)
    close(loss, golden["binact_resnet20/loss"], 2e-6)
    layers = kernels(model)
    gradients = dict(
        zip([layer.name for layer in layers], tape.gradient(loss, [x.scores.value for x in layers]), strict=True)
    )
    names = {"conv1": "conv", "layer1.0.conv1": "block0.0_conv1", "layer2.0.shortcut.0": "block1.0_conv3", "fc": "fc"}
    for theirs, name in (names | {"layer3.2.conv2": "block2.2_conv2"}).items():
        expected = keras_array(model, model.get_layer(name), golden[f"binact_resnet20/grad_scores/{theirs}"])
        close(gradients[name], expected, 2e-6)


def test_binary_activations_with_pooling(golden):
    """Below a pooling, where sums tie, gradients depend on rounding; above, and all outputs, do not."""
    model = narrow("Conv4Wide_BinAct", int(golden["narrow_binact/recipe_base"]), density=0.5)
    for layer in model.layers:
        if hasattr(layer, "moving_mean"):
            layer.unbiased_variance = True
    with tf.GradientTape() as tape:
        logits = model(images(golden["train/x"][:8]), training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(golden["train/y"][:8], logits)
        loss = tf.reduce_mean(losses)
    close(logits, golden["narrow_binact/logits_train"], 2e-6)
    close(loss, golden["narrow_binact/loss"], 1e-6)
    layers = kernels(model)
    gradients = tape.gradient(loss, [layer.scores.value for layer in layers])
    for name, layer, gradient in list(zip(golden["narrow_binact/conv_names"], layers, gradients, strict=True))[4:]:
        close(gradient, keras_array(model, layer, golden[f"narrow_binact/grad_scores/{name}"]), 1e-6)
    norms = [layer for layer in model.layers if hasattr(layer, "moving_mean")]
    modules = [name.split("/")[2] for name in golden if name.startswith("narrow_binact/running_mean/")]
    for module, norm in zip(modules, norms, strict=True):
        close(norm.moving_mean, golden[f"narrow_binact/running_mean/{module}"], 1e-6)
        close(norm.moving_variance, golden[f"narrow_binact/running_var/{module}"], 1e-6)
    close(model(images(golden["train/x"][:8])), golden["narrow_binact/logits_eval_after_1_batch"], 5e-6)


@pytest.mark.parametrize("affine", [False, True])
def test_batch_norm(golden, affine):
    settings = {"momentum": 0.9, "epsilon": 1e-5, "center": affine, "scale": affine, "unbiased_variance": True}
    layer = FrozenBatchNormalization(**settings)
    first, second = tf.constant(images(golden["bn/x1"])), images(golden["bn/x2"])
    layer.build(first.shape)
    with tf.GradientTape() as tape:
        tape.watch(first)
        outputs = layer(first, training=True)
        loss = tf.reduce_sum(outputs * images(golden["bn/gy"]))
    close(outputs, images(golden["bn/y1_train"]), 2e-6)
    close(tape.gradient(loss, first), images(golden["bn/gx1"]), 2e-6)
    close(layer.moving_mean, golden["bn/mean_after1"], 1e-6)
    close(layer.moving_variance, golden["bn/var_after1"], 1e-6)
    close(layer(second, training=True), images(golden["bn/y2_train"]), 2e-6)
    close(layer.moving_mean, golden["bn/mean_after2"], 1e-6)
    close(layer.moving_variance, golden["bn/var_after2"], 1e-6)
    close(layer(first, training=False), images(golden["bn/y1_eval"]), 5e-6)
    assert not layer.trainable_variables
    assert len(golden["bn/state_keys_affine" if affine else "bn/state_keys_nonaffine"]) == len(layer.variables) + 1
