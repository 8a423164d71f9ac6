"""SNIP, GradNorm and Fisher against their formulas."""

from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.criteria import SNIP, Fisher, GradNorm, RandomWeights, examples_at_once
from tfprune.errors import ConfigError

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


def mean_gradient(model, batches, kernel=None):
    return np.concatenate([example_gradients(model, x, y, kernel) for x, y in batches]).mean(0)


def test_snip_and_gradients_are_those_of_the_mean_over_all_examples(model, batches):
    total = mean_gradient(model, batches)
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
    total = mean_gradient(model, batches, kernel * masks["fc/kernel"])
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
    expected = np.abs(np.asarray(model.get_layer("fc").kernel) * np.concatenate(errors).mean(0))
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


@pytest.mark.parametrize("kind", [SNIP, GradNorm, Fisher])
@pytest.mark.parametrize("batch_size", [None, 1, 3, 8])
def test_batches_do_not_matter(model, batches, kind, batch_size):
    x, y = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    expected = kind().weight_scores(model, None, [(x, y)])["fc/kernel"]
    for data in (batches, (x, y), [(x, y)], tf.data.Dataset.from_tensor_slices((x, y)).batch(7)):
        found = kind(batch_size=batch_size).weight_scores(model, None, data)["fc/kernel"]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


class Counting(layers.Layer):
    """Notes how many examples there are at a time, and returns them."""

    seen: ClassVar[list[int]] = []

    def call(self, inputs):
        tf.numpy_function(self.seen.append, [tf.shape(inputs)[0]], [], stateful=True)
        return inputs


def test_memory_is_bounded_with_and_without_a_setting(monkeypatch):
    monkeypatch.setattr("tfprune.criteria.data._VALUES", 100)
    monkeypatch.setattr(Counting, "seen", [])
    model = keras.Sequential([keras.Input((3,)), Counting(), layers.Dense(4, name="fc")])
    assert examples_at_once(model) == 10  # of 3 inputs, counted twice, and 4 outputs
    arrays = np.ones((25, 3), np.float32), np.zeros(25, np.int64)
    for settings, expected in (({}, [9, 8, 8]), ({"batch_size": 20}, [13, 12])):
        for data in (arrays, [arrays]):
            SNIP(**settings).weight_scores(model, None, data)
            assert Counting.seen[-len(expected) :] == expected  # before, Keras made copies of the layer


def test_a_batch_has_examples(model, batches):
    for size in (0, -1, 2.0, True):
        with pytest.raises(ConfigError, match=f"batch_size: expected a whole number of at least 1, received {size}"):
            SNIP(batch_size=size)
