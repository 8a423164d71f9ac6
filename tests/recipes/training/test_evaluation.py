import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.layers import FusedBatchNormalization
from tfprune.pruning.recalibration import recalibrate_batch_norm
from tfprune.recipes.training import evaluate, predict_logits


class GivenLogits(keras.layers.Layer):
    def call(self, inputs):
        return inputs


def given(logits, labels, size):
    return [{"images": logits[i : i + size], "labels": labels[i : i + size]} for i in range(0, len(labels), size)]


def identity_model(classes):
    inputs = keras.Input((classes,))
    return keras.Model(inputs, GivenLogits()(inputs))


def test_loss_and_accuracy_by_hand():
    logits = np.array([[3, 2, 1, 0, -1, -2, -3.0], [0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0]], np.float32)
    labels = np.array([0, 2, 5])  # first; fifth; sixth
    result = evaluate(identity_model(7), given(logits, labels, 2))
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(3), labels]
    assert result.loss == pytest.approx(losses.mean(), rel=1e-6)
    assert result.top1 == pytest.approx(1 / 3)
    assert result.top5 == pytest.approx(2 / 3)
    assert result.examples == 3


def test_every_example_counts_once():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(11, 10)).astype(np.float32), rng.integers(0, 10, 11)
    results = [evaluate(identity_model(10), given(logits, labels, size)) for size in (1, 4, 11)]
    for result in results[1:]:
        assert result == pytest.approx(results[0], rel=1e-6)


def test_constant_logits_have_chance_accuracy():
    labels = np.arange(10)
    result = evaluate(identity_model(10), given(np.zeros((10, 10), np.float32), labels, 5))
    assert (result.top1, result.top5) == pytest.approx((0.1, 0.5))


def test_top5_with_fewer_classes():
    assert evaluate(identity_model(3), given(np.zeros((3, 3), np.float32), np.arange(3), 3)).top5 == 1.0


def batch_norm_model(layer_class=FusedBatchNormalization):
    inputs = keras.Input((4, 4, 3))
    outputs = keras.layers.GlobalAveragePooling2D()(layer_class(momentum=0.7)(inputs))
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("compile", ["off", "on"])
def test_batch_statistics_do_not_change_the_model(compile):
    model = batch_norm_model()
    images = np.random.default_rng(0).normal(2.0, 3.0, size=(6, 4, 4, 3)).astype(np.float32)
    batches = [{"images": images, "labels": np.zeros(6, np.int64)}]
    before = model.get_weights()
    moving = predict_logits(model, batches, compile=compile)
    batch = predict_logits(model, batches, batch_statistics=True, compile=compile)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    np.testing.assert_allclose(moving, images.mean((1, 2)) / np.sqrt(1.001), rtol=1e-4, atol=1e-5)
    axes = (0, 1, 2)
    normal = (images - images.mean(axes)) / np.sqrt(images.var(axes) + 1e-3)
    np.testing.assert_allclose(batch, normal.mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_evaluation_uses_the_current_weights():
    model = batch_norm_model()
    batches = [{"images": np.ones((2, 4, 4, 3), np.float32), "labels": np.zeros(2, np.int64)}]
    first = predict_logits(model, batches)
    model.layers[1].gamma.assign([2.0, 2.0, 2.0])
    np.testing.assert_allclose(predict_logits(model, batches), 2 * first, rtol=1e-6)


def test_evaluated_models_can_be_freed():
    model = identity_model(3)
    evaluate(model, given(np.zeros((3, 3), np.float32), np.arange(3), 3))
    gone = weakref.ref(model)
    del model
    keras.backend.clear_session()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("layer_class", [keras.layers.BatchNormalization, FusedBatchNormalization])
def test_recalibration_averages_batch_statistics(layer_class):
    model = batch_norm_model(layer_class)
    rng = np.random.default_rng(0)
    batches = [{"images": rng.normal(i, 1 + i, size=(5 - i, 4, 4, 3)).astype(np.float32)} for i in range(3)]
    assert (
        recalibrate_batch_norm(
            model,
            tf.data.Dataset.from_generator(
                lambda: iter(batches), output_signature={"images": tf.TensorSpec([None, 4, 4, 3])}
            ),
        )
        == 1
    )
    axes = (0, 1, 2)
    layer = model.layers[1]
    means = [batch["images"].mean(axes, dtype=np.float64) for batch in batches]
    variances = [batch["images"].var(axes, dtype=np.float64) for batch in batches]
    np.testing.assert_allclose(layer.moving_mean, np.mean(means, 0), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, np.mean(variances, 0), rtol=1e-5)
    np.testing.assert_array_equal(layer.gamma, np.ones(3))


def test_no_batches():
    for function in (evaluate, predict_logits, recalibrate_batch_norm):
        with pytest.raises(ConfigError, match="batches: expected at least one batch, received none"):
            function(batch_norm_model(), [])
    model = batch_norm_model()
    model.layers[1].momentum = 1.0
    with pytest.raises(ConfigError, match="momentum"):
        recalibrate_batch_norm(model, [{"images": np.ones((2, 4, 4, 3), np.float32)}])
