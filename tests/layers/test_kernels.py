"""A kernel layer of the user's own works everywhere with one row and one rule."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.criteria import weight_criterion
from tfprune.criteria.weights.magnitude import Magnitude
from tfprune.errors import ConfigError
from tfprune.exporting.keras import folded_model
from tfprune.graph import (
    Forward,
    KernelReads,
    channel_groups,
    complexity,
    convert,
    executable_groups,
    masks_of,
    prunable_weights,
    register_rule,
    slim,
)
from tfprune.layers import Kernel, KernelLayer, MaskedDense, MaskedWeights, kernel_layer, kernels, register_kernel_layer
from tfprune.layers.kernels import is_variant, named_kernels, prunable_kernels, stock_class, variants
from tfprune.recipes.models import initialize

layers = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)


class Mixing(keras.layers.Layer):
    """Not derived from any layer with a kernel."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def build(self, input_shape):
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], self.width), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.width,), initializer="uniform")

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.kernel) + self.bias

    def get_config(self):
        return {**super().get_config(), "width": self.width}


class MaskedMixing(MaskedWeights, Mixing):
    def call(self, inputs):
        return keras.ops.matmul(inputs, self.effective_kernel()) + self.bias


class Own(keras.layers.Dense):
    """Computes the same as a dense layer."""


def mixing_rule(labels, call):
    *outer, read = labels.of(call.inputs[0])
    made = labels.make(call, call.layer.width)
    labels.slot(call, "kernel", -2, read, "in")
    labels.slot(call, "kernel", -1, made, "out")
    labels.slot(call, "bias", -1, made, "out")
    labels.edit(call, "width", made)
    labels.cost(call, 1 if read is not None else call.inputs[0].shape[-1], read, made)
    labels.put(call.outputs[0], (*outer, made))


ROW = KernelLayer(
    Mixing,
    masked=MaskedMixing,
    reads="features",
    product=lambda layer, inputs, weights: tf.matmul(inputs, weights["kernel"]),
)


@pytest.fixture
def mixing(monkeypatch):
    monkeypatch.setattr(kernels, "_ROWS", dict(kernels._ROWS))
    register_kernel_layer(ROW)
    register_rule(Mixing, mixing_rule)
    inputs = keras.Input((6,))
    x = layers.ReLU()(Mixing(8, name="first")(inputs))
    return keras.Model(inputs, Mixing(3, name="last")(x))


def test_without_a_row_it_has_the_kernels_that_it_names_so():
    model = keras.Sequential([keras.Input((6,)), Mixing(3, name="alone"), layers.Dense(2, name="fc")])
    assert list(prunable_weights(model)) == ["alone/kernel", "fc/kernel"]
    assert kernel_layer(model.get_layer("alone")) is None


def test_weights_are_pruned_masked_and_baked(mixing):
    assert list(prunable_weights(mixing)) == ["first/kernel", "last/kernel"]
    masks = Magnitude()(mixing, 0.5)
    assert sum(int(mask.sum()) for mask in masks.values()) == 36
    scores = weight_criterion("snip").weight_scores(mixing, data=(IMAGES, np.arange(16) % 3))
    assert {name: array.shape for name, array in scores.items()} == {"first/kernel": (6, 8), "last/kernel": (8, 3)}
    sparse = convert(mixing, "masked", masks)
    assert type(sparse.get_layer("first")) is MaskedMixing
    assert masks_of(sparse) == masks
    plain = convert(sparse, "plain")
    assert type(plain.get_layer("first")) is Mixing
    assert int(np.count_nonzero(plain.get_layer("first").kernel)) == int(masks["first/kernel"].sum())
    np.testing.assert_allclose(plain(IMAGES), sparse(IMAGES), atol=1e-6)
    assert "masked one by one" in channel_groups(sparse).pinned[0]


def test_channels_are_counted_and_cut(mixing):
    groups = channel_groups(mixing)
    assert [(group.name, group.size) for group in groups] == [("first", 8)]
    assert complexity(mixing).macs == 6 * 8 + 8 * 3
    mask = np.arange(8) < 5
    mixing.get_layer("last").kernel.assign(np.where(mask[:, None], mixing.get_layer("last").kernel, 0))
    small = slim(mixing, mask, groups)
    assert complexity(small).macs == 6 * 5 + 5 * 3
    np.testing.assert_allclose(small(IMAGES), mixing(IMAGES), atol=1e-6)


def test_a_search_runs_it_at_other_widths(mixing):
    assert executable_groups(mixing).channels == 8
    register_kernel_layer(KernelLayer(Mixing))
    assert executable_groups(mixing).channels == 0


def test_what_its_kernel_reads(mixing):
    reads = KernelReads.from_layer(mixing.get_layer("first"))
    rows, channels = reads.rows(IMAGES).numpy(), reads.by_channel(reads.variable)
    np.testing.assert_allclose(
        np.einsum("grf,guf->ru", rows, channels) + mixing.get_layer("first").bias.numpy(),
        mixing.get_layer("first")(IMAGES),
        atol=1e-6,
    )


def test_it_is_initialized(mixing):
    initialize(mixing, "kaiming_constant_signed", seed=0)
    np.testing.assert_allclose(np.abs(mixing.get_layer("first").kernel), np.sqrt(2 / 6), rtol=1e-6)


def test_a_forward_takes_other_weights(mixing):
    first = mixing.get_layer("first")
    ones = tf.ones(first.kernel.shape)
    expected = np.maximum(IMAGES @ ones.numpy() + first.bias.numpy(), 0) @ mixing.get_layer("last").kernel.numpy()
    found = Forward(mixing)(IMAGES, weights=[(first.kernel, ones)])
    np.testing.assert_allclose(found, expected + mixing.get_layer("last").bias.numpy(), atol=1e-5)


def test_rows_of_the_table():
    for row in kernels._ROWS.values():
        for variant in ("masked", "psg", "channel_masked", "subnet"):
            kind = getattr(row, variant)
            assert kind is None or issubclass(kind, row.layer)
            assert stock_class(kind, variant) is (None if kind is None else row.layer)
    assert variants("masked")[layers.Dense] is MaskedDense
    assert is_variant(MaskedDense(2), "masked")
    assert not is_variant(layers.Dense(2), "masked")
    assert stock_class(layers.Dense, "masked", "subnet") is None


def test_axes_of_kernels():
    shapes = {
        layers.Dense(5): (None, 4),
        layers.Conv2D(5, 3): (None, 8, 8, 4),
        layers.Conv2DTranspose(5, 3): (None, 8, 8, 4),
        layers.SeparableConv2D(5, 3, depth_multiplier=2): (None, 8, 8, 4),
        layers.DepthwiseConv1D(3, depth_multiplier=5): (None, 8, 4),
    }
    for layer, shape in shapes.items():
        layer.build(shape)
        *_, last = kernel_layer(layer).kernels
        kernel = prunable_kernels(layer)[last.attribute].variable
        assert kernel.shape[last.inputs] in (4, 8)
        assert kernel.shape[last.outputs] == 5
        assert named_kernels(layer)[-1] is last


def test_a_cell_without_a_row_names_its_kernel_alike():
    lstm = layers.LSTM(3)
    lstm.build((None, 5, 2))
    assert kernel_layer(lstm.cell) is None
    assert named_kernels(lstm.cell) == [Kernel()]
    assert named_kernels(layers.ReLU()) == []


def test_names_of_kernels():
    with pytest.raises(ConfigError, match=r"Mixing: expected kernels whose attribute contains 'kernel', .* 'mixer'"):
        register_kernel_layer(KernelLayer(Mixing, (Kernel("mixer"),)))
    with pytest.raises(ConfigError, match=r"Mixing: expected one kernel .* with reads='features', .* \[\(-1, -2\)\]"):
        KernelLayer(Mixing, (Kernel(inputs=-1, outputs=-2),), reads="features")
    with pytest.raises(ConfigError, match="expected one kernel with an axis of outputs where norms fold"):
        KernelLayer(Mixing, (Kernel(outputs=None),), folds_norm=True)


def test_a_norm_behind_it_is_folded(mixing):
    layer, norm = Own(3, name="mix"), layers.BatchNormalization(name="bn")
    inputs = keras.Input((6,))
    model = keras.Model(inputs, norm(layer(inputs)))
    norm.moving_mean.assign([1.0, 2.0, 3.0])
    norm.gamma.assign([0.5, 2.0, -1.0])
    assert folded_model(model) is model
    register_kernel_layer(KernelLayer(Own, folds_norm=True))
    folded = folded_model(model)
    assert not any(isinstance(each, layers.BatchNormalization) for each in folded.layers)
    np.testing.assert_allclose(folded.get_layer("mix")(IMAGES), model(IMAGES), atol=1e-5)
