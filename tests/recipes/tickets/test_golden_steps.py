"""Steps of the original's training, in float64: masks, momentum and weight decay together.

Keras holds the learning rate in float32, and the tiny net's weights are stored in it: hence the tolerances.
"""

import ast

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.criteria.weights.golden_nets import random_tickets_model
from tests.recipes.models.test_golden_random_tickets import build, recipe
from tests.recipes.models.torch_names import kernel_names, load_torch_state, to_keras
from tests.recipes.plain_step import plain_step
from tfprune.graph import convert, prunable_weights
from tfprune.masks import Masks
from tfprune.optimizers import SGD

layers = keras.layers


@pytest.fixture
def arrays(golden_random_tickets):
    return golden_random_tickets


def sparse(model, masks):
    return convert(convert(model, "fused", options={"unbiased_variance": True}), "masked", masks)


def losses(model, batches):
    """Trains on the batches as the original does, and gives the loss of each before its step."""
    step = plain_step(model, SGD(0.1, 0.9, weight_decay=1e-4, momentum_form="torch"))
    return [float(step(tf.constant(x.transpose(0, 2, 3, 1)), tf.constant(y))) for x, y in batches]


def tiny(arrays, prefix):
    return random_tickets_model(arrays, prefix, classes=5)


def test_five_steps_of_the_tiny_net(arrays, float64):
    start = tiny(arrays, "steps/tiny/w0")
    masks = Masks({name: np.asarray(weight) != 0 for name, weight in prunable_weights(start).items()})
    assert 0.1 < masks.density < 0.9
    model = sparse(start, masks)
    found = losses(model, zip(arrays["steps/tiny/X"], arrays["steps/tiny/y"], strict=True))
    np.testing.assert_allclose(found, arrays["steps/tiny/losses"], rtol=3e-9)
    plain, expected = convert(model, "plain"), tiny(arrays, "steps/tiny/w5")
    for ours, theirs in zip(plain.weights, expected.weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=3e-7, atol=1e-8, err_msg=ours.path)
    for name, weight in prunable_weights(plain).items():
        assert not np.asarray(weight)[~masks[name]].any()


@pytest.mark.slow
def test_three_steps_of_resnet8(arrays, float64):
    start = build("resnet8", 10, init="ones", classifier_init="ones")
    load_torch_state(start, recipe(arrays["state/resnet8"], 23, 10))
    names = kernel_names(start, [f"{name}.weight" for name in arrays["layers/resnet8/c10/name"]])
    bits, masks = np.unpackbits(arrays["lt/resnet8/p0.98/maskbits"]), {}
    for name, text in zip(names.values(), arrays["layers/resnet8/c10/shape"], strict=True):
        shape = ast.literal_eval(str(text))
        size = int(np.prod(shape))
        masks[name], bits = to_keras(bits[:size].reshape(shape)), bits[size:]
    model = sparse(start, Masks(masks))
    random = np.random.RandomState(10)
    batches = [(random.standard_normal((16, 3, 32, 32)), random.randint(0, 10, 16)) for _ in range(3)]
    found = losses(model, batches)
    np.testing.assert_allclose(found, arrays["steps/resnet8/losses"], rtol=1e-8)
    plain = convert(model, "plain")
    np.testing.assert_allclose(
        plain.get_layer("conv").kernel, to_keras(arrays["steps/resnet8/final_conv1"]), rtol=2e-7, atol=2e-9
    )
    sums = dict(zip(arrays["steps/resnet8/final_names"].tolist(), arrays["steps/resnet8/final_sum_abs"], strict=True))
    for theirs, ours in names.items():
        kernel = np.asarray(prunable_weights(plain)[ours])
        assert np.abs(kernel).sum() == pytest.approx(sums[theirs], rel=1e-7), ours
