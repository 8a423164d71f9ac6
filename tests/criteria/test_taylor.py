import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.criteria import Taylor
from tfprune.errors import ConfigError
from tfprune.graph import channel_groups

layers = keras.layers


def two_units():
    """y = 3 (x1 + 2 x2) - 1 (4 x1 + 5 x2): no activation, one output."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(layers.Dense(2)(inputs)))
    model.set_weights([np.array([[1.0, 4], [2, 5]]), np.array([7.0, 9]), np.array([[3.0], [-1]])])
    return model, channel_groups(model)


def mean_output(y, outputs):
    return outputs


def test_scores_worked_out_by_hand():
    # With L = y, w * dL/dw summed over unit 0: 3 (x1 + 2 x2), over unit 1: -(4 x1 + 5 x2); offsets do not count.
    x, y = np.array([[1.0, 1]], np.float32), np.zeros((1, 1), np.float32)
    scores = Taylor(loss=mean_output).scores(*two_units(), (x, y))
    np.testing.assert_allclose(scores, [9.0**2, 9.0**2])
    x = np.array([[1.0, -1]], np.float32)
    np.testing.assert_allclose(Taylor(loss=mean_output).scores(*two_units(), (x, y)), [3.0**2, 1.0**2])


def test_squares_are_averaged_over_batches_of_mean_losses():
    one, two = np.array([[1.0, 1]], np.float32), np.array([[1.0, -1], [1, 1]], np.float32)
    y = np.zeros((2, 1), np.float32)
    # Second batch: means of -3 and 9, of 1 and -9: 3 and -4.
    data = [(one, y[:1]), (two, y)]
    criterion = Taylor(loss=mean_output)
    np.testing.assert_allclose(criterion.scores(*two_units(), data), [(81 + 9) / 2, (81 + 16) / 2])
    np.testing.assert_allclose(Taylor(mean_output, batches=1).scores(*two_units(), data), [81, 81])
    shares = Taylor(mean_output, normalize="max").scores(*two_units(), data)
    np.testing.assert_allclose(shares, [90 / 97, 1])


def test_layers_that_make_a_unit_together_add_up():
    inputs = keras.Input((1,))
    first, second = layers.Dense(1, use_bias=False), layers.Dense(1, use_bias=False)
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(layers.Add()([first(inputs), second(inputs)])))
    model.set_weights([np.array([[2.0]]), np.array([[-3.0]]), np.array([[5.0]])])
    data = (np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32))
    np.testing.assert_allclose(Taylor(mean_output).scores(model, channel_groups(model), data), [10**2 + 15**2])


def test_a_unit_made_several_times_is_squared_as_a_whole():
    inputs = keras.Input((1, 4))
    conv = layers.Conv1D(4, 1, groups=2, use_bias=False, name="grouped")
    x = layers.Flatten()(conv(layers.Conv1D(4, 1, use_bias=False)(inputs)))
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(x))
    model.layers[1].kernel.assign(np.eye(4)[None])
    conv.kernel.assign(np.array([[[1.0, 2, 3, 4]] * 2]))
    model.layers[-1].kernel.assign(np.array([[1.0], [10], [-5], [100]]))
    groups = channel_groups(model)
    data = (np.array([[[1.0, 1, 1, 2]]], np.float32), np.zeros((1, 1), np.float32))
    scores = Taylor(mean_output).scores(model, groups, data)
    # Positions give 1 * 2 * 1, 2 * 2 * 10, 3 * 3 * -5, 4 * 3 * 100; units are positions 0 with 2, 1 with 3.
    (group,) = (group for group in groups if group.name == "grouped")
    np.testing.assert_allclose(scores[group.channels], [(2 - 45) ** 2, (40 + 1200) ** 2])


def conv_net(seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, use_bias=False, name="one")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dropout(0.5)(layers.Conv2D(6, 3, name="two")(x))
    return keras.Model(inputs, layers.Dense(3, name="out")(layers.GlobalAveragePooling2D()(x)))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(1)
    return rng.normal(0, 1, (20, 6, 6, 3)).astype("float32"), rng.integers(0, 3, 20)


def test_against_plain_gradients(images):
    model = conv_net()
    x, y = images
    one, two = model.get_layer("one"), model.get_layer("two")
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x, training=False)))
    gradients = tape.gradient(loss, [one.kernel.value, two.kernel.value])
    expected = [
        np.sum(np.asarray(layer.kernel) * gradient, axis=(0, 1, 2)) ** 2
        for layer, gradient in zip((one, two), gradients, strict=True)
    ]
    weights = model.get_weights()
    scores = Taylor().scores(model, channel_groups(model), images)
    np.testing.assert_allclose(scores, np.concatenate(expected), rtol=1e-4, atol=1e-12)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_dead_channels_score_zero(images):
    model = conv_net()
    kernel = np.asarray(model.get_layer("one").kernel).copy()
    kernel[..., 2] = 0
    model.get_layer("one").kernel.assign(kernel)
    reads = np.asarray(model.get_layer("two").kernel).copy()
    reads[:, :, 5] = 0
    model.get_layer("two").kernel.assign(reads)
    scores = Taylor().scores(model, channel_groups(model), images)
    np.testing.assert_array_equal(np.flatnonzero(scores == 0), [2, 5])


def test_frozen_layers_are_judged_too(images):
    model = conv_net()
    expected = Taylor().scores(model, channel_groups(model), images)
    model.trainable = False
    np.testing.assert_array_equal(Taylor().scores(model, channel_groups(model), images), expected)


def test_number_formats_give_like_scores(images):
    whole = conv_net()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = conv_net()
    finally:
        keras.config.set_dtype_policy("float32")
    expected = Taylor().scores(whole, channel_groups(whole), images)
    scores = Taylor().scores(mixed, channel_groups(mixed), images)
    assert np.corrcoef(scores, expected)[0, 1] > 0.99


def test_data_is_needed():
    with pytest.raises(ConfigError, match="taylor looks at data"):
        Taylor().scores(*two_units())


def test_losses_that_are_no_numbers_are_refused(images):
    model = conv_net()
    with pytest.raises(ConfigError, match="finite"):
        Taylor().scores(model, channel_groups(model), (images[0] * np.nan, images[1]))


def test_groups_of_another_model_are_refused(images):
    with pytest.raises(ConfigError, match="channel groups of model"):
        Taylor().scores(conv_net(), channel_groups(conv_net()), images)


def test_a_model_without_prunable_units_has_no_scores():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(2)(inputs))
    scores = Taylor().scores(model, channel_groups(model), (np.zeros((1, 2), np.float32), np.zeros(1, int)))
    assert scores.shape == (0,)
