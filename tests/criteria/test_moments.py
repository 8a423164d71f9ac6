"""Moments of what kernels read, against NumPy on inputs that are computed by hand or by Keras itself."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.opaque_layers import CausalBlock, GatedMLP
from tfprune.criteria import CriterionData
from tfprune.criteria.moments import KernelInputs, inverse_factor
from tfprune.errors import ConfigError
from tfprune.graph import channel_groups, prunable_weights

layers = keras.layers
RNG = np.random.default_rng(0)


def found(model, data, *, weights=None, products=True):
    weights = weights or prunable_weights(model)
    return dict(KernelInputs(model, weights).moments(CriterionData(data), products=products))


def agree(moments, rows):
    """Compares with rows `[groups, rows, features]`."""
    assert moments.rows == rows.shape[1]
    np.testing.assert_allclose(moments.means, rows.mean(axis=1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moments.squares, np.square(rows).mean(axis=1), rtol=1e-4, atol=1e-6)
    expected = np.einsum("grf,grh->gfh", rows, rows) / rows.shape[1]
    np.testing.assert_allclose(moments.products, expected, rtol=1e-4, atol=1e-6)


def windows(images, size):
    """All windows of images `[examples, height, width, channels]`, one row for each position."""
    places = [range(length - size + 1) for length in images.shape[1:3]]
    cuts = [images[:, i : i + size, j : j + size] for i in places[0] for j in places[1]]
    return np.stack(cuts, axis=1).reshape(-1, size, size, images.shape[-1])


def test_each_kernel_of_a_small_network():
    inputs = keras.Input((5, 5, 4))
    conv = layers.Conv2D(6, 2, groups=2, activation="relu", name="conv")
    depthwise = layers.DepthwiseConv2D(3, name="depthwise")
    x = y = conv(inputs)
    x = z = depthwise(x)
    model = keras.Model(inputs, layers.Dense(3, name="fc")(layers.Flatten()(x)))
    images = RNG.normal(size=(9, 5, 5, 4)).astype(np.float32)
    moments = found(model, [(images[:4], None), (images[4:], None)])
    assert list(moments) == ["conv/kernel", "depthwise/kernel", "fc/kernel"]
    rows = windows(images, 2).reshape(-1, 4, 2, 2)  # the two groups read two channels each
    agree(moments["conv/kernel"], rows.transpose(2, 0, 1, 3).reshape(2, len(rows), 8))
    rows = windows(np.asarray(keras.Model(inputs, y)(images)), 3).reshape(-1, 9, 6)
    agree(moments["depthwise/kernel"], rows.transpose(2, 0, 1))
    agree(moments["fc/kernel"], np.asarray(keras.Model(inputs, z)(images)).reshape(1, 9, -1))


def test_attention_is_seen_from_within():
    """Its output projection reads the weighted values of all heads."""
    inputs = keras.Input((4, 6))
    attention = layers.MultiHeadAttention(2, 3, name="mha")
    model = keras.Model(inputs, attention(inputs, inputs))
    x = RNG.normal(size=(8, 4, 6)).astype(np.float32)
    moments = found(model, [(x[:5], None), (x[5:], None)])
    agree(moments["mha/query_dense.kernel"], x.reshape(1, -1, 6))
    weights = {each.path.split("mha/")[1]: np.asarray(each) for each in model.weights}
    query, key, value = (
        np.einsum("btf,fhd->bhtd", x, weights[f"{part}/kernel"]) + weights[f"{part}/bias"][:, None]
        for part in ("query", "key", "value")
    )
    scores = np.exp(np.einsum("bhtd,bhsd->bhts", query, key) / np.sqrt(3))
    mixed = np.einsum("bhts,bhsd->bthd", scores / scores.sum(axis=-1, keepdims=True), value)
    agree(moments["mha/output_dense.kernel"], mixed.reshape(1, -1, 6))
    assert not any("call" in vars(layer) for layer in attention._flatten_layers(include_self=False))


@pytest.mark.parametrize("opened", [False, True])
def test_kernels_within_a_layer_of_ones_own(opened):
    """Whether the graph opens the layer or not, the last kernel reads the product of gate and input."""
    inputs = keras.Input((4, 6))
    block = GatedMLP(8, name="block")
    model = keras.Model(inputs, block(inputs))
    groups = channel_groups(model) if opened else None
    weights = {"down": block.down.kernel, "gate": block.gate.kernel}
    x = RNG.normal(size=(9, 4, 6)).astype(np.float32)
    moments = dict(KernelInputs(model, weights, groups).moments(CriterionData([(x[:5], None), (x[5:], None)], model)))
    inside = np.asarray(block.norm(x)).reshape(-1, 6)
    agree(moments["gate"], inside[None])
    gate, up = (inside @ np.asarray(each.kernel) + np.asarray(each.bias) for each in (block.gate, block.up))
    agree(moments["down"], (gate / (1 + np.exp(-gate)) * up)[None])


def test_a_layer_that_needs_to_know_the_number_of_examples():
    inputs = keras.Input((4, 6))
    block = CausalBlock(2, name="block")
    model = keras.Model(inputs, block(inputs))
    x = RNG.normal(size=(9, 4, 6)).astype(np.float32)
    data, weights = CriterionData([(x[:5], None), (x[5:], None)], model), {"merge": block.merge.kernel}
    seen, opened = (
        dict(KernelInputs(model, weights, each).moments(data))["merge"] for each in (None, channel_groups(model))
    )
    assert seen.rows == opened.rows == 36
    np.testing.assert_allclose(opened.products, seen.products, rtol=1e-4, atol=1e-6)
    query, key, value = (
        np.einsum("btd,dhk->bthk", x, np.asarray(block.project[name].kernel)) for name in ("query", "key", "value")
    )
    scores = np.einsum("bqhk,bshk->bhqs", query, key) - 1e4 * (1 - np.tri(4))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = np.einsum("bhqs,bshk->bqhk", weights / weights.sum(axis=-1, keepdims=True), value)
    agree(seen, mixed.reshape(1, -1, 6))


def test_a_layer_that_is_called_twice_comes_at_its_last_call():
    inputs = keras.Input((3,))
    shared, between = layers.Dense(3, "tanh", name="shared"), layers.Dense(3, name="between")
    model = keras.Model(inputs, layers.Dense(2, name="fc")(shared(between(shared(inputs)))))
    x = RNG.normal(size=(20, 3)).astype(np.float32)
    moments = found(model, [(x, None)])
    assert list(moments) == ["between/kernel", "shared/kernel", "fc/kernel"]
    agree(moments["shared/kernel"], np.concatenate([x, between(shared(x))])[None])


def test_what_is_assigned_counts_for_all_that_follow():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="a"), layers.Dense(2, name="b")])
    x = RNG.normal(size=(10, 3)).astype(np.float32)
    seen = {}
    for name, moments in KernelInputs(model, prunable_weights(model)).moments(CriterionData([(x, None)])):
        seen[name] = moments
        if name == "a/kernel":
            agree(moments, x[None])
            model.get_layer("a").kernel.assign(np.eye(3, 4))
    agree(seen["b/kernel"], np.pad(x, [(0, 0), (0, 1)])[None])


def test_without_products():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="a")])
    x = RNG.normal(size=(10, 3)).astype(np.float32)
    moments = found(model, [(x, None)], products=False)["a/kernel"]
    assert moments.products is None
    np.testing.assert_allclose(moments.squares, np.square(x).mean(axis=0)[None], rtol=1e-6)


def test_layers_around_layers():
    inner = layers.Dense(2, name="inner")
    model = keras.Sequential([keras.Input((4, 3)), layers.TimeDistributed(inner, name="each"), layers.Flatten()])
    x = RNG.normal(size=(6, 4, 3)).astype(np.float32)
    agree(found(model, [(x, None)])["each/layer.kernel"], x.reshape(1, -1, 3))


def test_kernels_that_read_otherwise_are_missing():
    model = keras.Sequential([keras.Input((4, 3)), layers.LSTM(2, name="lstm"), layers.Dense(2, name="fc")])
    assert list(KernelInputs(model, prunable_weights(model)).reads) == ["fc/kernel"]


@keras.saving.register_keras_serializable(package="tests")
class Traced(layers.Layer):
    """Calls its layer in a traced function, where no values are to be seen."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.inner = layers.Dense(2)

    def build(self, shape):
        self.inner.build(shape)

    def call(self, inputs):
        return tf.function(self.inner)(inputs)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 2)


class Unused(Traced):
    def call(self, inputs):
        return inputs[:, :2]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Traced, "expected block to run its layers one by one, but it traces dense.* ignore it"),
        (Unused, "expected examples that reach block/inner.kernel, but its layer was not called; ignore it"),
    ],
)
def test_layers_that_show_nothing(layer, message):
    inputs = keras.Input((3,))
    block = layer(name="block")
    block.build((None, 3))
    outputs = keras.KerasTensor((None, 2))
    block.compute_output_spec = lambda inputs: outputs
    model = keras.Model(inputs, block(inputs))
    with pytest.raises(ConfigError, match=message):
        found(model, [(np.ones((4, 3), np.float32), None)])


def test_values_that_overflow():
    stack = [layers.Dense(2, kernel_initializer=keras.initializers.Constant(1e30), name=name) for name in "abc"]
    model = keras.Sequential([keras.Input((2,)), *stack])
    with pytest.raises(ConfigError, match="expected finite values where c/kernel reads, received NaN or infinity"):
        found(model, [(np.ones((4, 2), np.float32), None)])


@pytest.mark.parametrize("examples", [3, 40])
def test_inverses_of_all_lower_right_parts(examples):
    rows = RNG.normal(size=(examples, 7))
    moments = rows.T @ rows
    factor = inverse_factor(moments, 0.01)
    assert (np.tril(factor, -1) == 0).all()
    whole = moments + 0.01 * np.mean(np.diag(moments)) * np.eye(7)
    for start in range(7):
        part = factor[start:, start:]
        np.testing.assert_allclose(part.T @ part, np.linalg.inv(whole[start:, start:]), rtol=1e-9, atol=1e-12)


def test_moments_of_nothing_and_damping_that_is_too_small():
    np.testing.assert_array_equal(inverse_factor(np.zeros((3, 3)), 0.01), np.eye(3))
    with pytest.raises(ConfigError, match=r"damping: 1e-30 is too small .*; give a larger one"):
        inverse_factor(np.ones((3, 3)), 1e-30)
