"""Bop and its companion against the original, step by step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.criteria.weights.golden_nets import peekaboo_model
from tfprune.graph import convert
from tfprune.masks import Masks
from tfprune.optimizers import SGD, Bop
from tfprune.recipes.training import PeriodicDecay

STEPS = 12
FINE = {"input_bits": 8, "gradient_bits": 16, "relative_threshold": 1e-7, "sparsify": True, "take_sign": False}
COARSE = {"input_bits": 4, "gradient_bits": 8, "relative_threshold": 0.05, "sparsify": False, "take_sign": True}
RUNS = {  # what Bop is given (None: SGD trains everything), and PSG (None: plain gradients)
    "bop": ((1e-3, 1e-6), None),
    "bop_slow": ((0.1, 2e-3), None),
    "sgd": (None, None),
    "psg_bop": ((1e-3, 1e-6), FINE),
    "psg_bop_slow": ((0.1, 2e-3), FINE),
    "psgsign_bop": ((0.1, 0.3), COARSE),
    "psg_sgd": (None, FINE),
}
SLOW = ("psg_bop_slow", "psgsign_bop", "psg_sgd")


@pytest.mark.parametrize("tag", ["readme", "tau1e-3", "ar0.1_tau5e-4", "ar0.1_tau5e-4_decay", "tau0"])
@pytest.mark.parametrize("graph", [True, False])
def test_twenty_steps_bit_by_bit(peekaboo, tag, graph):
    rates, threshold = peekaboo[f"c/{tag}/ar"], float(peekaboo[f"c/{tag}/tau"])
    rate = PeriodicDecay(float(rates[0]), 0.15, every_epochs=1, steps_per_epoch=10) if "decay" in tag else rates[0]
    weight = keras.Variable(peekaboo["c/w0"], dtype="float32", name="kernel")
    bop = Bop(rate, threshold, sign_trained=["kernel"])
    bop.build([weight])
    apply = tf.function(bop.apply) if graph else bop.apply
    for step in range(20):
        apply([tf.constant(peekaboo["c/g"][step])])
        np.testing.assert_array_equal(bop.averages[0].numpy(), peekaboo[f"c/{tag}/m"][step])
        np.testing.assert_array_equal(weight.numpy(), peekaboo[f"c/{tag}/w"][step])
        assert int(bop.flips) == peekaboo[f"c/{tag}/flips"][step]
    assert bop.flips_by_variable == {"kernel": int(peekaboo[f"c/{tag}/flips"].sum())}


def conv_kernel(array):
    return np.transpose(array, (2, 3, 1, 0))


class TinyNet:
    """The original's small net in float64, with kernels masked by hand, or by PSG layers of the given settings."""

    def __init__(self, arrays, psg=None):
        self.model = convert(peekaboo_model(arrays, "A1", "float64"), "fused", options={"unbiased_variance": True})
        masks = {f"conv{n}/kernel": conv_kernel(arrays[f"e/train/mask/conv{n}.weight"]) for n in (1, 2, 3)}
        for name in ("conv1", "conv2", "conv3"):
            self.model.get_layer(name).kernel.masked = True
        self.masks = {path: mask.astype("float64") for path, mask in masks.items()}
        if psg is not None:
            self.model, self.masks = convert(self.model, "psg", Masks(masks), options=psg), {}

    def logits(self, images, training):
        masked = [variable.value * self.masks.get(variable.path, 1.0) for variable in self.model.trainable_variables]
        frozen = [variable.value for variable in self.model.non_trainable_variables]
        return self.model.stateless_call(masked, frozen, images, training=training)

    @tf.function
    def step(self, images, labels, optimizer):
        with tf.GradientTape() as tape:
            logits, moments = self.logits(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        variables = self.model.trainable_variables
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        for variable, value in zip(self.model.non_trainable_variables, moments, strict=True):
            variable.assign(value)
        optimizer.apply(gradients, variables)
        return loss, logits

    def state(self):
        """Arrays by the original's names, in its layout."""
        found = {}
        for place in (1, 2, 3):
            norm = self.model.get_layer(f"bn{place}")
            found[f"conv{place}.weight"] = np.transpose(self.model.get_layer(f"conv{place}").kernel, (3, 2, 0, 1))
            for name, value in zip(("weight", "bias", "running_mean", "running_var"), norm.weights, strict=True):
                found[f"bn{place}.{name}"] = value.numpy()
        linear = self.model.get_layer("linear")
        return {**found, "linear.weight": np.transpose(linear.kernel), "linear.bias": linear.bias.numpy()}


@pytest.mark.parametrize("run", [pytest.param(run, marks=pytest.mark.slow if run in SLOW else ()) for run in RUNS])
def test_training_of_the_tiny_net(peekaboo, run):
    """Learning rate and adaptivity rate drop on the way; running variances are those of PyTorch."""
    by_sign, psg = RUNS[run]
    net = TinyNet(peekaboo, psg)
    rate = PeriodicDecay(0.1, 0.1, every_epochs=4, steps_per_epoch=1)
    optimizer = SGD(rate, 0.9, weight_decay=5e-4, momentum_form="torch")
    if by_sign:
        adaptivity_rate, threshold = by_sign
        optimizer = Bop(PeriodicDecay(adaptivity_rate, 0.15, 5, 1), threshold, companion=optimizer)
    optimizer.build(net.model.trainable_variables)
    key = f"e/train/{run}/f64"
    flips = np.zeros(3, int)
    for step in range(STEPS):
        assert float(optimizer.learning_rate) == pytest.approx(peekaboo[f"{key}/lr"][step], rel=1e-14)
        images = np.transpose(peekaboo["e/train/x"][step % 6], (0, 2, 3, 1)).astype("float64")
        loss, logits = net.step(tf.constant(images), tf.constant(peekaboo["e/train/y"][step % 6]), optimizer)
        assert float(loss) == pytest.approx(peekaboo[f"{key}/loss"][step], rel=1e-13)
        np.testing.assert_allclose(logits, peekaboo[f"{key}/logits"][step], rtol=1e-11, atol=1e-12)
        if by_sign:
            before, flips = flips, np.array(list(optimizer.flips_by_variable.values()))
            np.testing.assert_array_equal(flips - before, peekaboo[f"{key}/flips"][step])
            assert int(optimizer.flips) == peekaboo[f"{key}/flips"][step].sum()
        if step + 1 in (1, 3, 12):
            for name, value in net.state().items():
                expected = peekaboo[f"{key}/state_after{step + 1}/{name}"]
                np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-13, err_msg=name)
    if by_sign:
        for place, average in enumerate(optimizer.averages, 1):
            expected = conv_kernel(peekaboo[f"{key}/m_final/conv{place}.weight"])
            np.testing.assert_allclose(average.numpy(), expected, rtol=1e-10, atol=1e-14)
    images = np.transpose(peekaboo["e/train/x"][0], (0, 2, 3, 1)).astype("float64")
    np.testing.assert_allclose(
        net.logits(images, training=False)[0], peekaboo[f"{key}/logits_eval_final"], rtol=1e-11, atol=1e-12
    )


def test_masked_weights_and_magnitudes_stay(peekaboo):
    """No weight of the tiny net changes but in its sign, and those behind the mask do not at all."""
    net = TinyNet(peekaboo)
    bop = Bop(0.1, 2e-3)
    bop.build(net.model.trainable_variables)
    kernels = [net.model.get_layer(name).kernel for name in ("conv1", "conv2", "conv3")]
    before = [kernel.numpy() for kernel in kernels]
    for step in range(3):
        images = np.transpose(peekaboo["e/train/x"][step], (0, 2, 3, 1)).astype("float64")
        net.step(tf.constant(images), tf.constant(peekaboo["e/train/y"][step]), bop)
    for kernel, old in zip(kernels, before, strict=True):
        np.testing.assert_array_equal(np.abs(kernel.numpy()), np.abs(old))
        pruned = net.masks[kernel.path] == 0
        np.testing.assert_array_equal(kernel.numpy()[pruned], old[pruned])
    assert int(bop.total_flips) > 100
