"""Second derivatives, against differences of first ones, and the settings of GraSP."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.criteria import CriterionData, GraSP
from tfprune.criteria.weights.gradient import BatchLosses
from tfprune.criteria.weights.scoring_model import ScoringModel
from tfprune.errors import ConfigError
from tfprune.graph import prunable_weights
from tfprune.layers import FusedBatchNormalization

layers = keras.layers
NORMS = {
    "batch": lambda: layers.BatchNormalization(),
    "fused": lambda: FusedBatchNormalization(),
    "layer": lambda: layers.LayerNormalization(),
    "layer over two axes": lambda: layers.LayerNormalization(axis=(-2, -1)),
    "group": lambda: layers.GroupNormalization(2),
}


def make_model(norm="batch", last=None):
    """Smooth, or differences would step over kinks."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, activation="tanh", name="conv")(inputs)
    x = layers.Conv2D(4, 2, name="conv2")(x)
    x = keras.activations.tanh(NORMS[norm]()(x))
    return keras.Model(inputs, layers.Dense(3, last, name="fc")(layers.GlobalAveragePooling2D()(x)))


def make_data(count=6):
    rng = np.random.default_rng(1)
    return rng.normal(size=(count, 6, 6, 2)), rng.integers(0, 3, count)


def losses_of(model, data, **options):
    names = list(prunable_weights(model))
    scoring = ScoringModel(model, names, "float64")
    return scoring, BatchLosses(model, scoring, CriterionData([data]), **options)


@pytest.mark.parametrize("batch_statistics", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("norm", NORMS)
def test_second_derivatives_are_differences_of_first_ones(norm, batch_statistics):
    x, y = make_data()
    scoring, losses = losses_of(make_model(norm), (x, y), batch_statistics=batch_statistics, temperature=2.0)
    rng = np.random.default_rng(2)
    kernels = {name: tf.convert_to_tensor(variable.value) for name, variable in scoring.kernels.items()}
    vector = {name: tf.constant(rng.normal(size=kernel.shape)) for name, kernel in kernels.items()}
    product = losses.hessian_product(vector, kernels, x, y)
    step = 1e-6
    after, before = (
        losses.gradients({name: kernels[name] + sign * step * vector[name] for name in kernels}, x, y)
        for sign in (1, -1)
    )
    for name in kernels:
        expected = (after[name] - before[name]) / (2 * step)
        np.testing.assert_allclose(product[name], expected, atol=1e-6 * np.abs(expected).max())


def test_keras_own_batch_norm_gives_others():
    """What this would be if the copy had Keras' layer, which holds the batch's mean constant."""
    x, y = make_data()
    model = make_model()
    scoring, losses = losses_of(model, (x, y), batch_statistics=True)
    right = _products(scoring, losses, x, y)
    for layer in scoring.model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer._moments = lambda inputs, mask: tf.nn.moments(inputs, [0, 1, 2])
    wrong = _products(scoring, losses, x, y)
    assert np.abs(right - wrong).max() > 1e-3 * np.abs(right).max()


def _products(scoring, losses, x, y):
    kernels = {name: tf.convert_to_tensor(variable.value) for name, variable in scoring.kernels.items()}
    gradient = losses.gradients(kernels, x, y)
    return np.asarray(losses.hessian_product(gradient, kernels, x, y)["conv/kernel"])


def test_variants_are_settings():
    model, data = make_model(), make_data()

    def scores(**settings):
        return GraSP(**settings).weight_scores(model, None, [data])

    same = {"variant": "peekaboo", "batch_statistics": True, "parts": 2, "redraw_dense": True}
    authors, ours = scores(variant="wang"), scores(**same)
    for name, score in authors.items():
        np.testing.assert_array_equal(score, ours[name])
    for change in (
        {"batch_statistics": False},
        {"parts": 1},
        {"redraw_dense": False},
        {"seed": 1},
        {"temperature": 1.0},
    ):
        other = scores(**same | change)
        assert any(np.abs(score - other[name]).max() > 1e-3 * np.abs(score).max() for name, score in authors.items())


def test_probabilities_are_cooled_like_logits():
    model, data = make_model(), make_data()
    ended = keras.Model(model.input, layers.Softmax()(model.output))
    grasp = GraSP(redraw_dense=False)
    expected = grasp.weight_scores(model, None, [data])
    for name, score in grasp.weight_scores(ended, None, [data]).items():
        np.testing.assert_allclose(score, expected[name], rtol=1e-8, atol=1e-12 * np.abs(score).max())


def test_a_temperature_needs_logits():
    model = make_model(last="relu")
    with pytest.raises(ConfigError, match="temperature: expected a model that ends in logits or a softmax, received"):
        GraSP(loss="mse").weight_scores(model, None, [(make_data()[0], np.zeros((6, 3)))])
    GraSP(loss="mse", temperature=1.0).weight_scores(model, None, [(make_data()[0], np.zeros((6, 3)))])


def test_parts_without_an_example_are_left_out():
    x, y = make_data(1)
    GraSP(parts=4).weight_scores(make_model(), None, [(x, y)])


def plain_scores(model, x, y, temperature, statistics):
    """`w * Hg` of one batch by nested tapes on formulas of our own, for `make_model("batch")`; float64.

    Statistics are moving averages, or None for those of the batch.
    """
    weights = {weight.path: tf.constant(weight.numpy(), tf.float64) for weight in model.weights}
    names = ("conv/kernel", "conv2/kernel", "fc/kernel")
    (norm,) = (layer for layer in model.layers if isinstance(layer, layers.BatchNormalization))

    def gradient(kernels):
        with tf.GradientTape() as tape:
            tape.watch(kernels)
            h = tf.tanh(tf.nn.conv2d(x, kernels[0], 1, "VALID") + weights["conv/bias"])
            h = tf.nn.conv2d(h, kernels[1], 1, "VALID") + weights["conv2/bias"]
            mean, variance = statistics or (
                tf.reduce_mean(h, (0, 1, 2)),
                tf.reduce_mean(h**2, (0, 1, 2)) - tf.reduce_mean(h, (0, 1, 2)) ** 2,
            )
            h = (h - mean) / tf.sqrt(variance + norm.epsilon) * weights[norm.gamma.path] + weights[norm.beta.path]
            logits = tf.reduce_mean(tf.tanh(h), (1, 2)) @ kernels[2] + weights["fc/bias"]
            loss = -tf.gather(tf.nn.log_softmax(logits / temperature), y, batch_dims=1)
            value = tf.reduce_mean(loss)
        return tape.gradient(value, kernels)

    kernels = [weights[name] for name in names]
    constant = [tf.identity(part) for part in gradient(kernels)]
    return names, kernels, gradient, constant


def product_scores(names, kernels, gradients, total):
    """Scores from functions that return gradients of parts of the data, whose mean is that of all."""
    with tf.GradientTape() as tape:
        tape.watch(kernels)
        pairs = [pair for gradient in gradients for pair in zip(gradient(kernels), total, strict=True)]
        along = tf.add_n([tf.reduce_sum(one * other) for one, other in pairs]) / len(gradients)
    products = tape.gradient(along, kernels)
    return {name: kernel * part for name, kernel, part in zip(names, kernels, products, strict=True)}


@pytest.mark.parametrize("batch_size", [None, 4, 1])
def test_batches_give_the_scores_and_masks_of_all_examples_at_once(batch_size):
    model, (x, y) = make_model(), make_data(10)
    rng = np.random.default_rng(3)
    (norm,) = (layer for layer in model.layers if isinstance(layer, layers.BatchNormalization))
    norm.moving_mean.assign(rng.normal(size=4))
    norm.moving_variance.assign(rng.uniform(0.5, 2, 4))
    statistics = [np.float64(variable.numpy()) for variable in (norm.moving_mean, norm.moving_variance)]
    names, kernels, gradient, total = plain_scores(model, x, y, 200.0, statistics)
    expected = product_scores(names, kernels, [gradient], total)
    grasp = GraSP(variant="peekaboo", batch_size=batch_size)
    for data in ([(x, y)], (x, y), [(x[:3], y[:3]), (x[3:], y[3:])]):
        for name, score in grasp.weight_scores(model, None, data).items():
            np.testing.assert_allclose(score, expected[name], rtol=1e-9, atol=1e-12 * np.abs(expected[name]).max())
    every = np.concatenate([np.ravel(expected[name]) for name in names])
    threshold = np.sort(every)[::-1][len(every) // 2 - 1]
    masks = grasp(model, 0.5, (x, y))
    for name in names:
        np.testing.assert_array_equal(masks[name], expected[name] >= threshold)


def test_statistics_are_those_of_the_parts_of_a_batch():
    """Of eight examples, four at a time are every second one, and each of these is split into halves."""
    model, (x, y) = make_model(), make_data(8)
    parts = [[0, 2], [4, 6], [1, 3], [5, 7]]
    found = [plain_scores(model, x[rows], y[rows], 200.0, None) for rows in parts]
    names, kernels = found[0][:2]
    total = [tf.add_n(gradients) / 4 for gradients in zip(*(constant for *_, constant in found), strict=True)]
    expected = product_scores(names, kernels, [gradient for *_, gradient, _ in found], total)
    for name, score in GraSP(redraw_dense=False, batch_size=4).weight_scores(model, None, [(x, y)]).items():
        np.testing.assert_allclose(score, expected[name], rtol=1e-9, atol=1e-12 * np.abs(expected[name]).max())
