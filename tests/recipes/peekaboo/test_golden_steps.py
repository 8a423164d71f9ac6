"""Five steps of the README's command on ResNet-20 in float64: layers, masks, PSG and Bop together.

In float32 training by signs is chaotic: the original itself, run in float32 and in float64, disagrees after a step.
"""

import numpy as np
import pytest
import tensorflow as tf

from tests.recipes.models.torch_names import kernel_names, load_torch_state, to_keras
from tests.recipes.plain_step import plain_step
from tfprune.graph import convert
from tfprune.masks import Masks
from tfprune.optimizers import SGD, Bop
from tfprune.recipes.models import build_model
from tfprune.recipes.training import PeriodicDecay

WEIGHTS = "b/resnet20_seed0_kaiming_normal/w/"
MASKS = "b/resnet20_seed0_kaiming_normal_synflow100_0.3"
PSG = {"input_bits": 8, "gradient_bits": 16, "relative_threshold": 1e-7, "sparsify": True, "take_sign": False}
STEPS = 5


@pytest.fixture
def arrays(golden_peekaboo):
    return golden_peekaboo


def sparse_network(arrays, family):
    """The network with the golden weights and masks, and our names of the kernels in the original's order."""
    dense = build_model(
        "ResNet-20", num_classes=10, input_shape=(32, 32, 3), padding="symmetric", init="kaiming_normal"
    )
    state = dict(arrays.section(WEIGHTS))
    load_torch_state(dense, state)
    golden_names = [str(name) for name in arrays[f"{MASKS}/names"]]
    names = kernel_names(dense, golden_names)
    bits = np.unpackbits(arrays[f"{MASKS}/mask_packbits"])
    masks, start = {}, 0
    for golden_name, name in names.items():
        shape = state[golden_name].shape
        masks[name] = to_keras(bits[start : start + np.prod(shape)].reshape(shape))
        start += np.prod(shape)
    fused = convert(dense, "fused", options={"unbiased_variance": True})
    return convert(fused, family, Masks(masks), options=PSG if family == "psg" else None), list(names.values())


@pytest.mark.slow
@pytest.mark.parametrize(("run", "family"), [("plain", "masked"), ("psg", "psg")])
def test_five_steps_of_resnet20(arrays, float64, run, family):
    model, names = sparse_network(arrays, family)
    companion = SGD(PeriodicDecay(0.1, 0.1, 80, STEPS), 0.9, weight_decay=5e-4, momentum_form="torch")
    bop = Bop(1e-3, 1e-6, companion)
    train = plain_step(model, bop)
    random = np.random.RandomState(700)
    images, labels = random.randn(STEPS, 16, 3, 32, 32), random.randint(0, 10, (STEPS, 16))
    images = images.astype(np.float32).astype(np.float64)
    key, flips = f"e/resnet20_steps/{run}/f64", np.zeros(len(names), int)
    for step in range(STEPS):
        loss = train(tf.constant(images[step].transpose(0, 2, 3, 1)), tf.constant(labels[step]))
        assert float(loss) == pytest.approx(arrays[f"{key}/loss"][step], rel=1e-12)
        before, flips = flips, np.array([bop.flips_by_variable[name] for name in names])
        np.testing.assert_array_equal(flips - before, arrays[f"{key}/flips"][step])
    layers = {name: model.get_layer(name.removesuffix("/kernel")) for name in names}
    signs = [np.transpose(np.asarray(layers[name].kernel), (3, 2, 0, 1)).ravel() > 0 for name in names]
    np.testing.assert_array_equal(np.packbits(np.concatenate(signs)), arrays[f"{key}/conv_signs_packbits"])
    np.testing.assert_allclose(
        np.transpose(model.get_layer("fc").kernel), arrays[f"{key}/linear.weight"], rtol=1e-10, atol=1e-13
    )
    norm = model.get_layer("bn")
    np.testing.assert_allclose(norm.moving_mean, arrays[f"{key}/bn1.running_mean"], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(norm.moving_variance, arrays[f"{key}/bn1.running_var"], rtol=1e-11)
