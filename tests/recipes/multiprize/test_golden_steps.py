"""Networks, optimizers and objectives that settings lead to against training steps of the original code.

Left out: `train/sgd_unfrozen_weights`, as weights never change here; and Adam after three steps, where rounding,
amplified by gradients next to nothing, decides.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.graph.test_subnet_golden import close, images, keras_array, kernels
from tfprune.layers import refresh_masks
from tfprune.recipes.multiprize import MultiPrizeConfig
from tfprune.recipes.multiprize.models import random_model, trainable_model
from tfprune.recipes.multiprize.training import make_objective, make_optimizer
from tfprune.recipes.training import Loop

DATA = SimpleNamespace(num_classes=10, input_shape=(32, 32, 3))
ADAM = {"optimizer": "adam"}
BINARY = {"binary_activations": True}

RUNS = {
    "sgd_layerwise_pr0.5": {},
    "sgd_nesterov_layerwise_pr0.8_wd5e-4_ls0.1": {"weight_decay": 5e-4, "nesterov": True, "label_smoothing": 0.1},
    "sgd_global_pr0.2": {"scope": "global", "density_ramp_epochs": 0},
    "sgd_gradclip_pr0.8_x_times_20": {"grad_clip": True},
    "adam_layerwise_pr0.5": ADAM,
    "adam_layerwise_pr0.8_x_times_5_3steps": ADAM,
    "adam_binact_pr0.5_1step": ADAM | BINARY,
    "dense_sgd": {"dense": True, "batch_norm": "fixed", "learning_rate": 0.01},
}
FACTORS = {"sgd_gradclip_pr0.8_x_times_20": 20.0, "adam_layerwise_pr0.8_x_times_5_3steps": 5.0}
TOLERANCES = {"sgd_gradclip_pr0.8_x_times_20": 2e-5, "dense_sgd": 1e-5, "adam_layerwise_pr0.8_x_times_5_3steps": 5e-6}


@pytest.fixture(scope="module")
def golden(golden_biprop):
    return golden_biprop


def config_of(tag):
    settings = {"train_path": "x", "arch": "Conv4", "width_multiplier": 0.125, "lr_policy": "constant"}
    settings |= {"original_quirks": True} if tag != "dense_sgd" else {}
    if "pr0" in tag:
        settings["density"] = float(tag[tag.index("pr0") + 2 :].split("_")[0])
    return MultiPrizeConfig(**settings | RUNS[tag])


def network_of(golden, config):
    """The network of the settings with the golden weights and scores; and its layers by their names there."""
    model = trainable_model(config, random_model(config, DATA), tf.distribute.get_strategy())
    part = "narrow_binact" if config.binary_activations else "narrow"
    layers = dict(zip(map(str, golden[f"{part}/conv_names"]), kernels(model), strict=True))
    for name, layer in layers.items():
        layer.kernel.assign(keras_array(model, layer, golden[f"{part}/init/{name}.weight"]))
        if not config.dense:
            layer.scores.assign(keras_array(model, layer, golden[f"{part}/init/{name}.scores"]))
    refresh_masks(model)
    return model, layers


QUICK = ("sgd_layerwise_pr0.5", "sgd_global_pr0.2", "adam_binact_pr0.5_1step", "dense_sgd")


@pytest.mark.parametrize("tag", [pytest.param(t, marks=() if t in QUICK else pytest.mark.slow) for t in RUNS])
def test_steps(golden, tag):
    config = config_of(tag)
    model, layers = network_of(golden, config)
    examples = 8 if config.binary_activations else len(golden["train/y"])
    optimizer = make_optimizer(config, model, 10)
    loop = Loop(model, optimizer, make_objective(config), global_batch_size=examples)
    x = images(golden["train/x"][:examples]) * np.float32(FACTORS.get(tag, 1))
    batch = {"images": x, "labels": golden["train/y"][:examples]}
    expected = golden[f"train/{tag}/loss_per_step"][: 3 if tag == "adam_layerwise_pr0.5" else None]
    losses, thresholds = [], []
    for _ in expected:
        scores = [np.abs(np.asarray(layer.scores)) for layer in kernels(model) if not config.dense]
        losses.append(loop.train_step(batch)["loss"])
        if config.scope == "global":  # the masks that the step computed with, from the scores before it
            masks = [np.asarray(layer.mask) for layer in kernels(model)]
            thresholds.append(max(each[~mask].max() for each, mask in zip(scores, masks, strict=True)))
    tolerance = TOLERANCES.get(tag, 1e-6)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=tolerance)
    if config.scope == "global":
        np.testing.assert_allclose(thresholds, golden[f"train/{tag}/threshold_per_step"], rtol=1e-6)
    if len(expected) < len(golden[f"train/{tag}/loss_per_step"]):
        return
    if config.dense:
        sums = [np.abs(np.asarray(layer.kernel), dtype=np.float64).sum() for layer in layers.values()]
        np.testing.assert_allclose(sums, golden[f"train/{tag}/weight_sum_abs_per_layer"], rtol=1e-5)
    elif tag.startswith("sgd"):
        check_scores(golden, tag, model, layers, ("convs.0", "linear.4"), min(tolerance, 5e-6))
        sums = [np.abs(np.asarray(layer.scores), dtype=np.float64).sum() for layer in layers.values()]
        np.testing.assert_allclose(sums, golden[f"train/{tag}/scores_sum_abs_per_layer"], rtol=1e-5)
        unchanged = [np.abs(np.asarray(layer.kernel), dtype=np.float64).sum() for layer in layers.values()]
        np.testing.assert_allclose(unchanged, golden[f"train/{tag}/weight_sum_abs_per_layer"], rtol=1e-6)
    else:
        check_scores(golden, tag, model, layers, ("linear.6" if config.binary_activations else "linear.4",), 5e-6)


def check_scores(golden, tag, model, layers, names, tolerance):
    for name in names:
        expected = keras_array(model, layers[name], golden[f"train/{tag}/scores_after/{name}"])
        close(layers[name].scores, expected, tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["sgd_nesterov_layerwise_pr0.8_wd5e-4_ls0.1", "dense_sgd"])
def test_decay_and_rate(golden, tag):
    _, group = golden[f"train/{tag}/param_groups"]
    count, rate, decay = (float(word.partition("=")[2]) for word in str(group).split())
    config = config_of(tag)
    model, _ = network_of(golden, config)
    optimizer = make_optimizer(config, model, 10)
    assert (len(model.trainable_variables), optimizer.coupled_weight_decay) == (count, decay)
    assert float(optimizer._learning_rate(0)) == pytest.approx(rate)
