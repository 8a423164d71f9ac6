"""SNIP, GradNorm and Fisher against their formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.criteria import SNIP, Fisher, GradNorm, RandomWeights

layers = keras.layers


def logistic():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, name="fc")])


@pytest.fixture(scope="module")
def model():
    return logistic()


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(count, 4)).astype(np.float32), rng.integers(0, 3, count)) for count in (5, 3)]


def example_gradients(model, x, y, kernel=None):
    """Of the cross-entropy, from its formula: `[examples, 4, 3]`."""
    kernel = np.asarray(model.get_layer("fc").kernel, np.float64) if kernel is None else kernel
    logits = x.astype(np.float64) @ kernel
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return x[:, :, None] * (shares - np.eye(3)[y])[:, None, :]


def test_snip_and_gradients_are_sums_over_batches_of_means(model, batches):
    total = sum(example_gradients(model, x, y).mean(0) for x, y in batches)
    kernel = np.asarray(model.get_layer("fc").kernel, np.float64)
    np.testing.assert_allclose(
        SNIP().weight_scores(model, None, batches)["fc/kernel"], np.abs(kernel * total), rtol=1e-12
    )
    np.testing.assert_allclose(GradNorm().weight_scores(model, None, batches)["fc/kernel"], np.abs(total), rtol=1e-12)


def test_fisher_is_of_single_examples(model, batches):
    squares = np.concatenate([example_gradients(model, x, y) ** 2 for x, y in batches]).mean(0)
    expected = 0.5 * np.asarray(model.get_layer("fc").kernel, np.float64) ** 2 * squares
    np.testing.assert_allclose(Fisher().weight_scores(model, None, batches)["fc/kernel"], expected, rtol=1e-12)


def test_pruned_weights(model, batches):
    """SNIP scores them by what they were; Fisher's are 0."""
    masks = RandomWeights()(model, 0.5)
    kernel = np.asarray(model.get_layer("fc").kernel, np.float64)
    total = sum(example_gradients(model, x, y, kernel * masks["fc/kernel"]).mean(0) for x, y in batches)
    found = SNIP().weight_scores(model, None, batches, masks=masks)["fc/kernel"]
    np.testing.assert_allclose(found, np.abs(kernel * total), rtol=1e-12)
    fisher = Fisher().weight_scores(model, None, batches, masks=masks)["fc/kernel"]
    np.testing.assert_array_equal(fisher > 0, masks["fc/kernel"])


def test_losses(model, batches):
    default = SNIP().weight_scores(model, None, batches)["fc/kernel"]
    compiled = logistic()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    compiled.compile("sgd", loss)
    np.testing.assert_array_equal(SNIP().weight_scores(compiled, None, batches)["fc/kernel"], default)
    assert loss.dtype == "float32"
    one_hot = [(x, np.eye(3)[y]) for x, y in batches]
    np.testing.assert_allclose(SNIP().weight_scores(model, None, one_hot)["fc/kernel"], default, rtol=1e-12)
    squared = SNIP(loss="mse").weight_scores(model, None, one_hot)["fc/kernel"]
    errors = [x[:, :, None] * (2 / 3 * (model.predict(x, verbose=0) - y))[:, None, :] for x, y in one_hot]
    expected = np.abs(np.asarray(model.get_layer("fc").kernel) * sum(error.mean(0) for error in errors))
    np.testing.assert_allclose(squared, expected, rtol=1e-4)


def test_batch_statistics_by_setting():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(5, name="a"), layers.BatchNormalization(), layers.Dense(2)]
    )
    rng = np.random.default_rng(0)
    data = [(rng.normal(size=(8, 4)) * 3, rng.integers(0, 2, 8))]
    for kind in (SNIP, GradNorm):
        moving, batch = (
            kind(batch_statistics=flag).weight_scores(model, None, data)["a/kernel"] for flag in (False, True)
        )
        assert np.abs(moving - batch).max() > 0.1 * np.abs(moving).max()
    assert np.asarray(model.layers[1].moving_mean).tolist() == [0] * 5


def test_datasets_and_mappings(model, batches):
    dataset = tf.data.Dataset.from_tensor_slices({"images": batches[0][0], "labels": batches[0][1]}).batch(5)
    np.testing.assert_array_equal(
        SNIP().weight_scores(model, None, dataset)["fc/kernel"],
        SNIP().weight_scores(model, None, batches[:1])["fc/kernel"],
    )
