import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.training import Consistency, CrossEntropy, GradientProbe, Loop


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(6, activation="tanh"), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((4,)), *layers])


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    return {"images": random.normal(size=(8, 4)).astype(np.float32), "labels": random.integers(0, 3, 8)}


def test_the_gradient_that_a_step_takes(model, batch):
    optimizer = keras.optimizers.SGD(0.5)
    probe = GradientProbe(model, optimizer, CrossEntropy(0.1), batch)
    loop = Loop(model, optimizer, CrossEntropy(0.1), global_batch_size=8, compile="off")
    for _ in range(2):  # the second at other weights
        before = [np.asarray(variable).copy() for variable in model.variables]
        gradients = dict(zip([variable.path for variable in model.trainable_variables], probe(), strict=True))
        for variable, value in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)
        loop.train_step(batch)
        for variable, value in zip(model.variables, before, strict=True):
            if variable.path in gradients:
                np.testing.assert_allclose(variable, value - 0.5 * gradients[variable.path], atol=1e-6)
                assert np.abs(gradients[variable.path]).max() > 1e-4


def test_a_scaled_loss(model, batch):
    plain = GradientProbe(model, keras.optimizers.SGD(), CrossEntropy(), batch)()
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(), initial_scale=2.0**20)
    scaled.build(model.trainable_variables)
    for one, other in zip(GradientProbe(model, scaled, CrossEntropy(), batch)(), plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-9)


def test_views(batch):
    """As many as the batch has; the loss is divided by the images."""
    model = keras.Sequential([keras.Input((1, 1, 4)), keras.layers.Flatten(), keras.layers.Dense(3)])
    images = tf.constant(batch["images"].reshape(8, 1, 1, 1, 4))
    same = {"images": tf.repeat(images, 3, 1), "labels": tf.constant(batch["labels"])}
    probe = GradientProbe(model, keras.optimizers.SGD(), Consistency(), same)
    single = GradientProbe(model, keras.optimizers.SGD(), CrossEntropy(), same | {"images": images[:, 0]})
    for one, other in zip(probe(), single(), strict=True):  # views that are alike do not diverge
        np.testing.assert_allclose(one, other, atol=1e-6)
