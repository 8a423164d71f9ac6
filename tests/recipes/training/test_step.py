import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.graph import convert, prunable_weights
from tfprune.masks import Masks
from tfprune.optimizers import SGD, Bop
from tfprune.recipes.training import Consistency, CrossEntropy, GradientProbe, Loop, loss_scaled
from tfprune.recipes.training.step import uses_xla

CPU, GPU = "/job:localhost/replica:0/task:0/device:CPU:0", "/device:GPU:0"
RNG = np.random.default_rng(0)
BATCH = {"images": RNG.normal(size=(8, 6, 6, 3)).astype(np.float32), "labels": RNG.integers(0, 4, 8)}


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(6, activation="tanh"), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((4,)), *layers])


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    return {"images": random.normal(size=(8, 4)).astype(np.float32), "labels": random.integers(0, 3, 8)}


def test_the_probe_returns_the_gradient_of_a_step(model, batch):
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


def test_the_probe_with_a_scaled_loss(model, batch):
    plain = GradientProbe(model, keras.optimizers.SGD(), CrossEntropy(), batch)()
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(), initial_scale=2.0**20)
    scaled.build(model.trainable_variables)
    for one, other in zip(GradientProbe(model, scaled, CrossEntropy(), batch)(), plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-9)


def test_the_probe_with_views(batch):
    """As many as the batch has; the loss is divided by the images."""
    model = keras.Sequential([keras.Input((1, 1, 4)), keras.layers.Flatten(), keras.layers.Dense(3)])
    images = tf.constant(batch["images"].reshape(8, 1, 1, 1, 4))
    same = {"images": tf.repeat(images, 3, 1), "labels": tf.constant(batch["labels"])}
    probe = GradientProbe(model, keras.optimizers.SGD(), Consistency(), same)
    single = GradientProbe(model, keras.optimizers.SGD(), CrossEntropy(), same | {"images": images[:, 0]})
    for one, other in zip(probe(), single(), strict=True):  # views that are alike do not diverge
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "devices", "expected"),
    [("on", (CPU,), True), ("off", (GPU,), False), ("auto", (GPU, GPU), True), ("auto", (GPU, CPU), False)],
)
def test_auto_means_gpus(setting, devices, expected):
    assert uses_xla(setting, devices) is expected


def test_unknown_compile_setting():
    with pytest.raises(ConfigError, match="auto, on or off"):
        uses_xla(True, (CPU,))


def plain():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 6, 3))
    hidden = keras.layers.ReLU()(keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, use_bias=False)(inputs)))
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(hidden)))


def trained(family, precision, optimizer):
    model = plain()
    masks = Masks.full(prunable_weights(model)) if family == "masked" else None
    sparse = convert(model, "fused", dtype=precision)
    sparse = convert(sparse, family, masks) if masks else convert(sparse, family)
    optimizer = loss_scaled(optimizer, precision)
    loop = Loop(sparse, optimizer, CrossEntropy(), global_batch_size=8)
    return sparse, optimizer, [loop.train_step(BATCH)["loss"] for _ in range(3)]


@pytest.mark.parametrize(("family", "make"), [("masked", lambda: Bop(0.1)), ("subnet", lambda: SGD(0.1, 0.9))])
def test_scores_and_state_stay_float32(family, make):
    _, _, exact = trained(family, "float32", make())
    sparse, optimizer, losses = trained(family, "mixed_float16", make())
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert sparse.layers[1].compute_dtype == "float16"
    floating = {v.dtype for v in [*sparse.variables, *optimizer.variables] if tf.as_dtype(v.dtype).is_floating}
    assert floating <= {"float32", "float64"}
    assert "float32" in floating
    np.testing.assert_allclose(losses, exact, rtol=0.02)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_other_formats_need_no_scale(precision):
    optimizer = SGD(0.1)
    assert loss_scaled(optimizer, precision) is optimizer
