import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.graph import convert, prunable_weights
from tfprune.masks import Masks
from tfprune.optimizers import SGD, Bop
from tfprune.training import CrossEntropy, Loop, loss_scaled

RNG = np.random.default_rng(0)
BATCH = {"images": RNG.normal(size=(8, 6, 6, 3)).astype(np.float32), "labels": RNG.integers(0, 4, 8)}


def plain():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 6, 3))
    hidden = keras.layers.ReLU()(keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, use_bias=False)(inputs)))
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(hidden)))


def trained(family, precision, optimizer):
    model = plain()
    masks = Masks.full(prunable_weights(model)) if family == "masked" else None
    network = convert(model, "fused", dtype=precision)
    network = convert(network, family, masks) if masks else convert(network, family)
    optimizer = loss_scaled(optimizer, precision)
    loop = Loop(network, optimizer, CrossEntropy(), global_batch_size=8)
    return network, optimizer, [loop.train_step(BATCH)["loss"] for _ in range(3)]


@pytest.mark.parametrize(("family", "make"), [("masked", lambda: Bop(0.1)), ("subnet", lambda: SGD(0.1, 0.9))])
def test_scores_and_state_stay_float32(family, make):
    _, _, exact = trained(family, "float32", make())
    network, optimizer, losses = trained(family, "mixed_float16", make())
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert network.layers[1].compute_dtype == "float16"
    floating = {v.dtype for v in [*network.variables, *optimizer.variables] if tf.as_dtype(v.dtype).is_floating}
    assert floating <= {"float32", "float64"}
    assert "float32" in floating
    np.testing.assert_allclose(losses, exact, rtol=0.02)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_other_formats_need_no_scale(precision):
    optimizer = SGD(0.1)
    assert loss_scaled(optimizer, precision) is optimizer
