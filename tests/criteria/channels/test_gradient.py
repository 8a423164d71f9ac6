import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models import concatenations, nested_blocks
from tfprune.criteria import EKG, Taylor
from tfprune.errors import ConfigError
from tfprune.graph import channel_groups
from tfprune.recipes.models import load_checkpoint
from tfprune.search.greedy import Search

layers = keras.layers


def two_units():
    """y = 3 (x1 + 2 x2) - 1 (4 x1 + 5 x2): no activation, one output."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(layers.Dense(2)(inputs)))
    model.set_weights([np.array([[1.0, 4], [2, 5]]), np.array([7.0, 9]), np.array([[3.0], [-1]])])
    return model, channel_groups(model)


def mean_output(y, outputs):
    return outputs


def test_taylor_scores_worked_out_by_hand():
    # With L = y, w * dL/dw summed over channel 0: 3 (x1 + 2 x2), over channel 1: -(4 x1 + 5 x2); offsets do not count.
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


def test_layers_that_make_a_channel_together_add_up():
    inputs = keras.Input((1,))
    first, second = layers.Dense(1, use_bias=False), layers.Dense(1, use_bias=False)
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(layers.Add()([first(inputs), second(inputs)])))
    model.set_weights([np.array([[2.0]]), np.array([[-3.0]]), np.array([[5.0]])])
    data = (np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32))
    np.testing.assert_allclose(Taylor(mean_output).scores(model, channel_groups(model), data), [10**2 + 15**2])


def test_a_channel_made_several_times_is_squared_as_a_whole():
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
    # Positions give 1 * 2 * 1, 2 * 2 * 10, 3 * 3 * -5, 4 * 3 * 100; channels are positions 0 with 2, 1 with 3.
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


def test_taylor_data_is_needed():
    with pytest.raises(ConfigError, match="taylor looks at data"):
        Taylor().scores(*two_units())


def test_losses_that_are_no_numbers_are_refused(images):
    model = conv_net()
    with pytest.raises(ConfigError, match="finite"):
        Taylor().scores(model, channel_groups(model), (images[0] * np.nan, images[1]))


def test_groups_of_another_model_are_refused(images):
    with pytest.raises(ConfigError, match="channel groups of model"):
        Taylor().scores(conv_net(), channel_groups(conv_net()), images)


def test_a_model_without_prunable_channels_has_no_scores():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(2)(inputs))
    scores = Taylor().scores(model, channel_groups(model), (np.zeros((1, 2), np.float32), np.zeros(1, int)))
    assert scores.shape == (0,)


def output(y, outputs):
    return outputs


def test_ekg_scores_worked_out_by_hand():
    inputs = keras.Input((2,))
    x = layers.Dense(2, activation="relu", use_bias=False)(inputs)
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(x))
    model.set_weights([np.array([[1.0, 4], [2, -5]]), np.array([[3.0], [-1]])])
    y = np.zeros((3, 1), np.float32)
    # Activations [3, 0], [1, 4], [0, 14] times readers 3 and -1; means within a batch, sizes across.
    one, two = np.array([[1.0, 1], [1, 0]], np.float32), np.array([[1.0, -2]], np.float32)
    scores = EKG(loss=output).scores(model, channel_groups(model), [(one, y[:2]), (two, y[:1])])
    np.testing.assert_allclose(scores, [(9 + 3 + 0) / 3, (0 + 4 + 14) / 3], rtol=1e-6)
    scores = EKG(output, batches=1).scores(model, channel_groups(model), [(one, y[:2]), (two, y[:1])])
    np.testing.assert_allclose(scores, [6, 2], rtol=1e-6)


def test_signs_cancel_within_a_batch_only():
    inputs = keras.Input((1,))
    x = layers.Dense(1, use_bias=False)(inputs)
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(x))
    model.set_weights([np.array([[2.0]]), np.array([[3.0]])])
    groups = channel_groups(model)
    x, y = np.array([[1.0], [-1]], np.float32), np.zeros((2, 1), np.float32)
    np.testing.assert_allclose(EKG(output).scores(model, groups, (x, y)), [0], atol=1e-7)
    np.testing.assert_allclose(EKG(output).scores(model, groups, [(x[:1], y[:1]), (x[1:], y[1:])]), [6], rtol=1e-6)


@pytest.mark.slow
def test_golden_scores(pretrained_file, golden):
    """The original's scores of the pretrained ResNet-56, whose loss has the ensemble's logits as a second target."""
    model = load_checkpoint(pretrained_file, arch="ResNet-56", num_classes=10, input_shape=(32, 32, 3))

    def with_knowledge(y, logits):
        to_labels = tf.nn.softmax_cross_entropy_with_logits(y[:, :10], logits)
        return to_labels + tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(y[:, 10:]), logits)

    y = np.concatenate([np.eye(10, dtype="float32")[golden["test64_labels"].ravel()], golden["K64"]], axis=1)
    scores = EKG(with_knowledge).scores(model, channel_groups(model), [(golden["test64_x"], y)])
    expected = golden["scores_full"]
    np.testing.assert_allclose(scores, expected, rtol=0.02, atol=1e-3 * expected.max())
    assert np.corrcoef(scores, expected)[0, 1] > 0.99999


def straight():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(16, 3, use_bias=False)(x)
    x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    return inputs, x


def residual():
    inputs = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(inputs)))
    for _ in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(x)))
        y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(y))
        x = layers.ReLU()(layers.Add()([x, y]))
    return inputs, layers.DepthwiseConv2D(3)(x)


def concatenating():
    return concatenations(8, width=6, growth=4)


def nested():
    return nested_blocks(8, width=6)


def classifier(build):
    keras.utils.set_random_seed(0)
    inputs, x = build()
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.name in ("beta", "bias", "gamma", "moving_mean"):
            variable.assign(variable + rng.normal(0, 0.2, variable.shape))
    return model


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(1)
    return rng.normal(0, 1, (40, 8, 8, 3)).astype("float32"), rng.integers(0, 3, 40)


@pytest.mark.parametrize("build", [straight, residual, concatenating, nested])
def test_they_are_the_scores_of_the_searchs_first_step(build, examples):
    model = classifier(build)
    search = Search(model, *examples, target=0.5, batch_size=24)
    expected, _ = search._score(search.start())
    weights = model.get_weights()
    batches = [(examples[0][:24], examples[1][:24]), (examples[0][24:], examples[1][24:])]
    scores = EKG().scores(model, channel_groups(model), batches)
    np.testing.assert_allclose(scores, expected, rtol=2e-3, atol=2e-6)
    assert scores.min() < 0.5 * scores.max()
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_mode_of_batch_norm_matters(examples):
    model = classifier(straight)
    groups = channel_groups(model)
    scores = EKG().scores(model, groups, examples)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_variance.assign(layer.moving_variance * 9)
    np.testing.assert_allclose(EKG().scores(model, groups, examples), scores, rtol=1e-6)
    for layer in model.layers:
        layer.trainable = False  # Keras runs frozen batch norms on their moving averages
    assert not np.allclose(EKG().scores(model, groups, examples), scores, rtol=0.1)


def test_a_compiled_loss_scales_the_scores(examples):
    model = classifier(straight)
    groups = channel_groups(model)
    scores = EKG().scores(model, groups, examples)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), loss_weights=3.0)
    scaled = EKG().scores(model, groups, examples)
    # A score is a sum of terms of both signs, each with a rounding error of its own size, however small the sum is.
    tolerance = {"rtol": 1e-5, "atol": 16 * np.finfo(np.float32).eps * scaled.max()}
    np.testing.assert_allclose(scaled, 3 * scores, **tolerance)
    assert not np.allclose(scaled, 3.0003 * scores, **tolerance)
    shares = EKG(normalize="max").scores(model, groups, examples)
    np.testing.assert_allclose([shares[group.channels].max() for group in groups], 1)


def attending():
    inputs = keras.Input((5, 4))
    x = layers.Dense(6)(inputs)
    x = layers.MultiHeadAttention(2, 3, value_dim=4)(x, x)
    return inputs, x


def remembering():
    inputs = keras.Input((5, 4))
    return inputs, layers.LSTM(6, return_sequences=True)(inputs)


def embedding():
    inputs = keras.Input((5,), dtype="int32")
    return inputs, layers.Dense(4, activation="relu")(layers.Embedding(11, 6)(inputs))


@pytest.mark.parametrize("build", [attending, remembering, embedding])
def test_channels_within_layers_are_judged_too(build):
    keras.utils.set_random_seed(0)
    inputs, x = build()
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    groups = channel_groups(model)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 11, (8, 5)) if build is embedding else rng.normal(0, 1, (8, 5, 4)).astype("float32")
    scores = EKG().scores(model, groups, (x, rng.integers(0, 3, 8)))
    assert len(scores) == groups.channels
    assert np.isfinite(scores).all()
    assert (scores > 0).all()


def test_attention_heads_score_what_closing_them_would_do_to_first_order():
    keras.utils.set_random_seed(0)
    model = keras.Model(*_with_head(attending))
    groups = channel_groups(model)
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (8, 5, 4)).astype("float32"), rng.integers(0, 3, 8)
    scores = EKG().scores(model, groups, (x, y))
    attention = next(layer for layer in model.layers if isinstance(layer, layers.MultiHeadAttention))
    changed = 0
    for group in groups:
        if group.name.endswith((".heads", ".values", ".keys")):
            part = group.name.rpartition(".")[2]
            for unit in range(group.size):
                slope = _slope(model, attention, part, unit, x, y)
                np.testing.assert_allclose(scores[group.start + unit], abs(slope), rtol=0.02, atol=2e-5)
                changed += 1
    assert changed == 2 + 3 + 4


def _with_head(build):
    inputs, x = build()
    return inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x))


def _slope(model, attention, part, unit, x, y, step=0.05):
    """How the loss changes with a factor on what the attention's kernels read of a channel."""
    dense, index = {
        "heads": (attention._output_dense, np.s_[unit]),
        "values": (attention._output_dense, np.s_[:, unit]),
        "keys": (attention._key_dense, np.s_[:, :, unit]),
    }[part]
    whole = np.asarray(dense.kernel).copy()
    losses = []
    for factor in (1 + step, 1 - step):
        kernel = whole.copy()
        kernel[index] *= factor
        dense.kernel.assign(kernel)
        logits = model(x, training=False)
        losses.append(float(tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))))
    dense.kernel.assign(whole)
    return (losses[0] - losses[1]) / (2 * step)


def test_several_inputs_by_name_and_several_outputs():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    x = layers.Concatenate()([layers.Dense(4, activation="relu")(a), layers.Dense(5, activation="relu")(b)])
    x = layers.Dense(6, activation="relu")(x)
    model = keras.Model(
        {"a": a, "b": b}, {"one": layers.Dense(2, name="one")(x), "two": layers.Dense(1, name="two")(x)}
    )
    model.compile(loss={"one": keras.losses.SparseCategoricalCrossentropy(True), "two": "mse"})
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(9, 3)), "b": rng.normal(size=(9, 2))}
    y = {"one": rng.integers(0, 2, 9), "two": rng.normal(size=(9, 1))}
    scores = EKG().scores(model, channel_groups(model), (x, y))
    assert scores.shape == (15,)
    assert (scores >= 0).all()
    assert (scores > 0).sum() > 8


def test_sequential_models():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5, activation="relu"), layers.Dense(3)])
    rng = np.random.default_rng(0)
    data = rng.normal(size=(9, 4)), rng.integers(0, 3, 9)
    x, (kernel, bias) = data[0], model.layers[0].get_weights()
    hidden = tf.Variable(np.maximum(x @ kernel + bias, 0))
    with tf.GradientTape() as tape:
        outputs = tf.cast(hidden, tf.float32) @ model.layers[1].kernel + model.layers[1].bias
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(data[1], outputs))
    expected = np.abs(np.sum(np.asarray(hidden) * np.asarray(tape.gradient(loss, hidden)), axis=0))
    np.testing.assert_allclose(EKG().scores(model, channel_groups(model), data), expected, rtol=1e-3, atol=1e-6)


def test_ekg_data_is_needed():
    model = classifier(straight)
    with pytest.raises(ConfigError, match="ekg looks at data"):
        EKG().scores(model, channel_groups(model))
