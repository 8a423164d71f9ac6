"""SparseGPT, against one output channel at a time with inverses that are computed again for every feature."""

import keras
import numpy as np
import pytest

from tfprune.criteria import SparseGPT
from tfprune.errors import ConfigError

layers = keras.layers
RNG = np.random.default_rng(0)


def examples(count, features, seed=0):
    """Features that depend on one another."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, features)) @ rng.normal(size=(features, features))).astype(np.float32)


def dense(features, channels, seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((features,)), layers.Dense(channels, name="fc")])


def damped(x, damping=0.01):
    moments = x.T.astype(float) @ x / len(x)
    return moments + damping * np.mean(np.diag(moments)) * np.eye(len(moments))


def pruned(model, density, x, **settings):
    copy, masks = SparseGPT(**settings).prune(model, density, (x, np.zeros(len(x))))
    return np.asarray(copy.get_layer("fc").kernel, float).T, masks["fc/kernel"].T


def direct(weights, hessian, blocks, choose):
    """The optimal brain surgeon that leaves earlier features as they are, with an inverse for each step."""
    weights, kept = weights.copy(), np.ones(weights.shape, bool)
    for start, end in blocks:
        costs = np.array([np.linalg.inv(hessian[j:, j:])[0, 0] for j in range(start, end)])
        kept[:, start:end] = choose(weights[:, start:end] ** 2 / costs)
        for j in range(start, end):
            inverse = np.linalg.inv(hessian[j:, j:])
            for row, stays in zip(weights, kept[:, j], strict=True):
                if not stays:
                    row[j:] -= row[j] / inverse[0, 0] * inverse[0]
    return np.where(kept, weights, 0), kept


@pytest.mark.parametrize("block", [1, 4, 7, 128])
def test_a_dense_layer_solved_directly(block):
    model, x = dense(12, 5), examples(60, 12)
    blocks = [(start, min(start + block, 12)) for start in range(0, 12, block)]

    def largest(scores):
        count = scores.size // 2 + (scores.size % 2)
        return scores >= np.sort(scores.ravel())[-count]

    weights = np.asarray(model.get_layer("fc").kernel, float).T
    found, mask = pruned(model, 0.5, x, block=block)
    assert mask.sum() == 30
    if block in (4, 128):  # the counts of the blocks are whole numbers
        expected, kept = direct(weights, damped(x), blocks, largest)
    else:
        chosen = iter([mask[:, start:end] for start, end in blocks])
        expected, kept = direct(weights, damped(x), blocks, lambda scores: next(chosen))
    np.testing.assert_array_equal(mask, kept)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_pattern_solved_directly():
    model, x = dense(12, 5), examples(60, 12)
    weights = np.asarray(model.get_layer("fc").kernel, float).T

    def two_of_four(scores):
        ranks = np.argsort(np.argsort(-scores, axis=1), axis=1)
        return ranks < 2

    found, mask = pruned(model, 0.5, x, pattern=(2, 4), block=5)
    expected, kept = direct(weights, damped(x), [(0, 4), (4, 8), (8, 12)], two_of_four)
    np.testing.assert_array_equal(mask, kept)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_features_removed_before_all_others_are_least_squares():
    """If an output channel loses its first features, the others are those of a ridge regression on its outputs."""
    x = examples(80, 8)
    x[:, :4] = x[:, 4:] @ RNG.normal(size=(4, 4)).astype(np.float32) + 1e-2 * x[:, :4]
    model = dense(8, 3)
    kernel = np.asarray(model.get_layer("fc").kernel).copy()
    kernel[:4] *= 1e-2
    model.get_layer("fc").kernel.assign(kernel)
    found, mask = pruned(model, 0.5, x)
    np.testing.assert_array_equal(mask, np.tile(np.arange(8) >= 4, (3, 1)))
    ridge = np.sqrt(0.01 * np.mean(np.square(x.astype(float))) * len(x)) * np.eye(8)
    rows = np.concatenate([x, ridge])  # the ridge holds the weights near what they were
    refitted = np.linalg.lstsq(rows[:, 4:], rows @ kernel, rcond=None)[0]
    np.testing.assert_allclose(found[:, 4:].T, refitted, rtol=1e-4, atol=1e-6)
    assert np.abs(found[:, 4:].T - kernel[4:]).max() > 0.1 * np.abs(kernel[:4]).max()


def test_between_no_update_and_the_best_one():
    """For its own mask, the error lies between that of the old weights and that of least squares for each output."""
    x, model = examples(300, 16, seed=2), dense(16, 10)
    old = np.asarray(model.get_layer("fc").kernel, float).T
    found, mask = pruned(model, 0.5, x, damping=1e-6)
    outputs = x @ old.T
    best = [np.linalg.lstsq(x[:, kept], y, rcond=None)[1][0] for kept, y in zip(mask, outputs.T, strict=True)]
    ours, plain = (np.square(x @ each.T - outputs).sum(axis=0) for each in (found, np.where(mask, old, 0)))
    assert (ours >= np.array(best) * (1 - 1e-3)).all()
    assert ours.sum() < 0.7 * plain.sum()
    assert ours.sum() < 3 * sum(best)


def test_a_convolution_is_a_dense_layer_of_its_windows():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 5, 3)), layers.Conv2D(4, (4, 5), groups=1, name="fc")])
    images = examples(90, 60).reshape(90, 4, 5, 3)
    copy, masks = SparseGPT().prune(model, 0.3, (images, np.zeros(90)))
    flat = dense(60, 4)
    flat.get_layer("fc").kernel.assign(np.asarray(model.get_layer("fc").kernel).reshape(60, 4))
    other, mask = SparseGPT().prune(flat, 0.3, (images.reshape(90, 60), np.zeros(90)))
    np.testing.assert_array_equal(masks["fc/kernel"].reshape(60, 4), mask["fc/kernel"])
    expected = np.asarray(other.get_layer("fc").kernel)
    np.testing.assert_allclose(np.asarray(copy.get_layer("fc").kernel).reshape(60, 4), expected, atol=1e-5)


def test_scores_are_those_of_the_surgeon():
    model, x = dense(6, 3), examples(40, 6)
    expected = np.asarray(model.get_layer("fc").kernel, float) ** 2 / np.diag(np.linalg.inv(damped(x)))[:, None]
    found = SparseGPT().weight_scores(model, data=(x, np.zeros(40)))["fc/kernel"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_fewer_examples_than_features():
    """The moments are singular, which the damping takes care of, unless it is too small."""
    model, x = dense(20, 3), examples(5, 20)
    found, mask = pruned(model, 0.5, x)
    assert mask.sum() == 30
    assert np.isfinite(found).all()
    with pytest.raises(ConfigError, match=r"damping: 1e-25 is too small .* or more examples"):
        pruned(model, 0.5, x, damping=1e-25)
    for settings in ({"damping": 0}, {"block": 0}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            SparseGPT(**settings)
