import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models import conv_chain
from tfprune.errors import ConfigError
from tfprune.layers import FusedBatchNormalization

SHAPES = [(8, 6, 5, 8), (8, 6, 4, 13), (9, 12), (5, 6, 7)]


def pair(shape, **settings):
    """The stock layer and ours with equal, uneven weights, and inputs for them."""
    stock, ours = keras.layers.BatchNormalization(**settings), FusedBatchNormalization(**settings)
    rng = np.random.default_rng(0)
    for layer in (stock, ours):
        layer.build(shape)
    stock.set_weights([rng.uniform(0.5, 2.0, w.shape) for w in stock.weights])
    ours.set_weights(stock.get_weights())
    return stock, ours, tf.constant(rng.normal(1.0, 2.0, size=shape).astype(np.float32))


def run(layer, inputs, training):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=training)
        loss = tf.reduce_sum(tf.sin(outputs))
    return outputs, tape.gradient(loss, [inputs, *(v.value for v in layer.trainable_variables)])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "settings",
    [{}, {"momentum": 0.9, "epsilon": 1e-5}, {"center": False}, {"scale": False}, {"center": False, "scale": False}],
    ids=str,
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_keras(shape, settings, training):
    stock, ours, inputs = pair(shape, **settings)
    assert [w.name for w in ours.weights] == [w.name for w in stock.weights]
    expected, expected_gradients = run(stock, inputs, training)
    outputs, gradients = run(ours, inputs, training)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    for wanted, got in zip(expected_gradients, gradients, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=5e-6 * np.abs(wanted).max() + 1e-6)
    for wanted, got in zip(stock.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_frozen_layer_uses_and_keeps_moving_averages():
    stock, ours, inputs = pair(SHAPES[0])
    stock.trainable = ours.trainable = False
    before = ours.get_weights()
    np.testing.assert_allclose(ours(inputs, training=True), stock(inputs, training=True), rtol=1e-4, atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, ours.get_weights(), strict=True))


def test_config_of_the_stock_layer_makes_ours():
    stock = keras.layers.BatchNormalization(
        momentum=0.8, epsilon=1e-4, center=False, gamma_initializer="zeros", name="a"
    )
    stock.build((None, 4))
    ours = FusedBatchNormalization.from_config(stock.get_config())
    assert ours.get_config() == {**stock.get_config(), "unbiased_variance": False}


def small_model(layer_class, **settings):
    def normalization(name):
        return layer_class(**settings, name=name)

    return conv_chain((6, 6, 3), (5,), 3, seed=1, padding="valid", normalization=normalization)


def test_fit_gives_the_weights_of_keras():
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(24, 6, 6, 3)).astype(np.float32), rng.integers(0, 3, 24)
    weights = []
    for layer_class in (keras.layers.BatchNormalization, FusedBatchNormalization):
        model = small_model(layer_class)
        model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(images, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for wanted, got in zip(*weights, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("jit", [False, True])
def test_save_and_load(tmp_path, jit):
    model = small_model(FusedBatchNormalization, synchronized=True, epsilon=1e-4)
    images = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype(np.float32)
    model(images, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[2].synchronized
    assert loaded.layers[2].epsilon == 1e-4
    expected = tf.function(model, jit_compile=jit)(images)
    np.testing.assert_allclose(tf.function(loaded, jit_compile=jit)(images), expected, rtol=1e-5, atol=1e-6)


def test_mixed_precision_keeps_parameters_in_float32():
    layer = FusedBatchNormalization(dtype="mixed_bfloat16")
    inputs = np.random.default_rng(0).normal(size=(8, 4, 4, 6)).astype(np.float32)
    outputs = layer(inputs, training=True)
    assert outputs.dtype == tf.bfloat16
    assert {w.dtype for w in layer.weights} == {"float32"}
    stock = keras.layers.BatchNormalization()
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), stock(inputs, training=True), atol=0.02)
    np.testing.assert_allclose(layer.moving_variance, stock.moving_variance, rtol=1e-3)


def test_float64_and_masks_take_the_path_of_keras():
    layer, stock = FusedBatchNormalization(dtype="float64"), keras.layers.BatchNormalization(dtype="float64")
    inputs = np.random.default_rng(0).normal(size=(4, 6, 3))
    mask = tf.constant(np.arange(24).reshape(4, 6) % 3 > 0)
    assert layer(inputs, training=True).dtype == tf.float64
    np.testing.assert_allclose(
        FusedBatchNormalization()(inputs, training=True, mask=mask),
        keras.layers.BatchNormalization()(inputs, training=True, mask=mask),
        rtol=1e-6,
    )
    np.testing.assert_allclose(layer(inputs, training=True), stock(inputs, training=True), rtol=1e-12)


def test_synchronized_on_one_replica_is_the_plain_layer():
    inputs = np.random.default_rng(0).normal(size=(8, 5, 5, 4)).astype(np.float32)
    together, alone = FusedBatchNormalization(synchronized=True), FusedBatchNormalization()
    np.testing.assert_array_equal(together(inputs, training=True), alone(inputs, training=True))


def test_refuses_what_it_cannot_do():
    with pytest.raises(ConfigError, match="renorm"):
        FusedBatchNormalization(renorm=True)
    with pytest.raises(ConfigError, match="axis"):
        FusedBatchNormalization(axis=1).build((None, 3, 4, 5))
    FusedBatchNormalization(axis=3).build((None, 3, 4, 5))


@pytest.mark.parametrize(
    ("dtype", "masked"), [("float32", False), ("float64", False), ("float32", True), ("mixed_bfloat16", False)]
)
def test_unbiased_variance(dtype, masked):
    """What PyTorch keeps: the moving variance of unbiased variances, while the output is that of the biased one."""
    settings = {"momentum": 0.75, "dtype": dtype}
    ours, plain = (FusedBatchNormalization(unbiased_variance=flag, **settings) for flag in (True, False))
    inputs = np.random.default_rng(0).normal(size=(5, 4, 3)).astype("float64" if dtype == "float64" else "float32")
    mask = np.arange(20).reshape(5, 4) % 4 > 0 if masked else np.ones((5, 4), bool)
    for _ in range(2):
        outputs, expected = (layer(inputs, training=True, mask=mask if masked else None) for layer in (ours, plain))
    np.testing.assert_array_equal(outputs, expected)
    np.testing.assert_array_equal(ours.moving_mean.numpy(), plain.moving_mean.numpy())
    wanted = 0.75**2 + (1 - 0.75**2) * inputs[mask].var(0, ddof=1)
    tolerance = {"float64": 1e-12, "mixed_bfloat16": 0.02}.get(dtype, 2e-6)
    np.testing.assert_allclose(ours.moving_variance.numpy(), wanted, rtol=tolerance)
    before = ours.moving_variance.numpy()
    ours(inputs, training=False)
    np.testing.assert_array_equal(ours.moving_variance.numpy(), before)
    assert FusedBatchNormalization.from_config(ours.get_config()).unbiased_variance


def test_unbiased_variance_of_one_value_is_finite():
    layer = FusedBatchNormalization(unbiased_variance=True)
    layer(np.ones((1, 3), np.float32), training=True)
    assert np.isfinite(layer.moving_variance.numpy()).all()
