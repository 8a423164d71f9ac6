import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.graph import SlimWeights, channel_groups, execute, model_calls, slim

layers = keras.layers
RNG = np.random.default_rng(0)


def outputs(model, images, weights):
    calls = model_calls(model)
    tensors = {id(calls[0].outputs[0]): tf.constant(images)}
    execute(calls[1:], tensors, weights)
    return tensors[id(model.outputs[0])]


def own(call):
    """A call's own weights, by attribute name."""
    names = ("kernel", "bias", "gamma", "beta")
    return {name: tf.constant(np.asarray(w)) for name in names if (w := getattr(call.layer, name, None)) is not None}


def randomize(model):
    for weight in model.weights:
        weight.assign(RNG.uniform(0.2, 1.2, weight.shape))


IMAGE = (6, 6, 3)
CASES = {
    "conv": (IMAGE, lambda: layers.Conv2D(5, 3, strides=2, padding="same")),
    "conv without bias": (IMAGE, lambda: layers.Conv2D(5, (3, 2), use_bias=False)),
    "dilated conv": (IMAGE, lambda: layers.Conv2D(5, 2, dilation_rate=2, activation="relu")),
    "depthwise": (IMAGE, lambda: layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)),
    "dense": ((7,), lambda: layers.Dense(4, activation="tanh")),
    "batch norm": (IMAGE, lambda: layers.BatchNormalization(epsilon=0.01)),
    "batch norm of vectors": ((7,), lambda: layers.BatchNormalization()),
    "batch norm without scale": (IMAGE, lambda: layers.BatchNormalization(scale=False)),
    "batch norm without offset": (IMAGE, lambda: layers.BatchNormalization(center=False)),
    "activation": (IMAGE, lambda: layers.Activation("softmax")),
    "relu": (IMAGE, lambda: layers.ReLU()),
    "capped relu": (IMAGE, lambda: layers.ReLU(max_value=0.3)),
    "leaky relu": (IMAGE, lambda: layers.ReLU(negative_slope=0.5)),
    "shifted relu": (IMAGE, lambda: layers.ReLU(threshold=0.2)),
    "pooling": (IMAGE, lambda: layers.MaxPooling2D(2)),
    "dropout": (IMAGE, lambda: layers.Dropout(0.9)),
    "flatten": (IMAGE, lambda: layers.Flatten()),
}


@pytest.mark.parametrize("name", CASES)
def test_one_layer(name):
    shape, make = CASES[name]
    inputs = keras.Input(shape)
    model = keras.Model(inputs, make()(inputs))
    randomize(model)
    images = RNG.normal(size=(9, *shape)).astype(np.float32)
    # Dropout is off, and batch norm takes the statistics of the batch.
    expected = model(images, training="batch norm" in name)
    np.testing.assert_allclose(outputs(model, images, own), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3])
def test_sums(count):
    inputs = keras.Input(IMAGE)
    model = keras.Model(inputs, layers.Add()([layers.ReLU()(inputs)] * (count - 1) + [inputs]))
    images = RNG.normal(size=(2, *IMAGE)).astype(np.float32)
    np.testing.assert_allclose(outputs(model, images, own), model(images), rtol=1e-6)


def test_the_given_weights_are_used_and_the_layer_is_left_alone():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Dense(2)(inputs))
    before = model.get_weights()
    images = RNG.normal(size=(4, 3)).astype(np.float32)
    kernel = RNG.normal(size=(3, 6)).astype(np.float32)  # another width, too
    result = outputs(model, images, lambda call: {"kernel": tf.constant(kernel)})
    np.testing.assert_allclose(result, images @ kernel, rtol=1e-5)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_batch_norm_moves_no_average():
    inputs = keras.Input(IMAGE)
    model = keras.Model(inputs, layers.BatchNormalization()(inputs))
    outputs(model, RNG.normal(size=(4, *IMAGE)).astype(np.float32), own)
    np.testing.assert_array_equal(model.layers[-1].moving_mean, 0)
    np.testing.assert_array_equal(model.layers[-1].moving_variance, 1)


def test_without_weights_the_layer_runs_as_it_is():
    """A layer nobody has a rule for keeps its own weights, in inference mode."""
    inputs = keras.Input(IMAGE)
    model = keras.Model(inputs, layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs)))
    randomize(model)
    images = RNG.normal(size=(4, *IMAGE)).astype(np.float32)
    np.testing.assert_allclose(outputs(model, images, lambda call: {}), model(images, training=False), rtol=1e-5)


def test_bfloat16_stays_bfloat16():
    inputs = keras.Input(IMAGE)
    model = keras.Model(inputs, layers.MaxPooling2D(2)(layers.ReLU()(inputs)))
    images = tf.cast(RNG.normal(size=(2, *IMAGE)), tf.bfloat16)
    assert outputs(model, images, own).dtype == tf.bfloat16


def test_batch_norm_without_scale_and_offset_uses_the_batch():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(inputs)
    x = keras.layers.BatchNormalization(scale=False, center=False)(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalMaxPooling2D()(x)))
    groups = channel_groups(model)
    mask = np.arange(8) % 3 > 0
    images = np.random.default_rng(0).normal(size=(5, 4, 4, 3)).astype(np.float32)
    weights = SlimWeights(model, groups)
    tensors = {id(model.inputs[0]): tf.constant(images)}
    execute(
        model_calls(model)[1:],
        tensors,
        lambda call: dict(zip(weights.names(call), weights.tensors(call, mask), strict=True)),
    )
    expected = slim(model, mask, groups, rescale_kernels=True)(images, training=True)
    np.testing.assert_allclose(tensors[id(model.outputs[0])], expected, atol=1e-5)
