"""Slimming, masking, cost and files agree on models of every kind."""

import keras
import numpy as np
import pytest

from tests.graph.agreement import assert_named
from tests.graph.model_zoo import ZOO
from tfprune.graph import CostModel, channel_groups, complexity, masked, slim

layers = keras.layers


def randomized(build, seed=0):
    """A model whose scales, offsets and statistics are no longer 0 and 1."""
    keras.utils.set_random_seed(seed)
    model = build()
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name in ("beta", "bias", "moving_mean"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
        elif variable.name in ("gamma", "moving_variance", "scale"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def random_mask(groups, seed, density=0.5):
    """Keeps each channel by chance, and at least one along each axis of a tensor, and of each group."""
    mask = np.random.default_rng(seed).random(groups.channels) < density
    for group in groups:
        mask[group.start] |= not mask[group.channels].any()
    for _, channels in groups.named_axes():
        if (channels >= 0).all() and not mask[channels].any():
            mask[channels[0]] = True
    return mask


def outputs(model, seed=0):
    rng = np.random.default_rng(seed)
    values = []
    for tensor in model.inputs:
        shape = (3, *tensor.shape[1:])
        whole = tensor.dtype.startswith("int")
        values.append(rng.integers(0, 9, shape) if whole else rng.normal(0, 1, shape).astype("float32"))
    results = model(values if len(values) > 1 else values[0], training=False)
    return [np.asarray(each) for each in keras.tree.flatten(results)]


@pytest.mark.parametrize("build", ZOO, ids=lambda build: build.__name__)
def test_slimmed_equals_masked(build):
    model = randomized(build)
    groups = channel_groups(model)
    assert not any(entry.unknown for entry in groups.left_alone)
    assert_named(groups)
    assert len(groups) >= 2
    for seed in range(3):
        mask = random_mask(groups, seed)
        small = slim(model, mask, groups)
        for whole, reference, result in zip(
            outputs(model), outputs(masked(model, mask, groups)), outputs(small), strict=True
        ):
            np.testing.assert_allclose(result, reference, rtol=1e-5, atol=2e-6 * np.abs(reference).max())
            assert np.abs(whole - reference).max() > 0.05 * np.abs(whole).max(), "the mask changes nothing to agree on"


@pytest.mark.parametrize("build", ZOO, ids=lambda build: build.__name__)
def test_costs_are_those_of_the_slimmed_model(build):
    model = build()
    groups = channel_groups(model)
    cost = CostModel(model, groups)
    mask = random_mask(groups, 4)
    small = slim(model, mask, groups)
    expected, found = cost.complexity(mask), complexity(small)
    assert expected == found
    assert found.params == small.count_params()
    assert cost.complexity(np.ones(groups.channels, bool)).params == model.count_params()
    assert found.uncounted == ()
    assert 0 < found.macs < complexity(model).macs


@pytest.mark.parametrize("build", ZOO, ids=lambda build: build.__name__)
def test_slimmed_models_are_ordinary_models(build, tmp_path):
    model = randomized(build)
    before = [np.asarray(variable).copy() for variable in model.variables]
    nodes = [len(operation._inbound_nodes) for operation in model.operations]
    groups = channel_groups(model)
    small = slim(model, random_mask(groups, 5), groups)
    assert type(small) is type(model)
    assert list(channel_groups(small).layers) == list(groups.layers)
    assert small.output_shape == model.output_shape
    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    for result, reference in zip(outputs(loaded), outputs(small), strict=True):
        np.testing.assert_allclose(result, reference, rtol=1e-5, atol=1e-5)
    assert {group.name for group in channel_groups(small)} <= {group.name for group in groups}
    assert [len(operation._inbound_nodes) for operation in model.operations] == nodes
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_slimmed_models_can_be_trained():
    model = randomized(ZOO[0])
    model.compile("sgd", "mse")
    groups = channel_groups(model)
    small = slim(model, random_mask(groups, 6), groups)
    assert small.compiled
    x, y = np.random.default_rng(0).normal(size=(8, 8, 8, 3)), np.zeros((8, 4))
    losses = small.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


class Odd(layers.Layer):
    def call(self, inputs):
        return keras.ops.cumsum(inputs, axis=-1)


@pytest.mark.parametrize("place", range(4))
def test_an_unknown_layer_never_breaks_a_model(place):
    def build():
        inputs = keras.Input((6, 6, 3))
        x = Odd(name="odd")(inputs) if place == 0 else inputs
        x = layers.Conv2D(8, 3, padding="same")(x)
        y = Odd(name="odd")(x) if place == 1 else x
        y = layers.Conv2D(8, 1)(layers.BatchNormalization()(y))
        y = Odd(name="odd")(y) if place == 2 else y
        x = layers.Add()([x, y])
        x = layers.Conv2D(6, 3)(x)
        x = Odd(name="odd")(x) if place == 3 else x
        return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))

    model = randomized(build)
    groups = channel_groups(model)
    assert groups.pinned[0].startswith("odd (Odd): no rule for Odd; give one to tfprune.register_rule")
    assert_named(groups)
    mask = random_mask(groups, place)
    (result,), (reference,) = outputs(slim(model, mask, groups)), outputs(masked(model, mask, groups))
    np.testing.assert_allclose(result, reference, rtol=1e-5, atol=1e-5)


FAMILIES = (
    "MobileNetV2",
    "MobileNetV3Small",
    "EfficientNetB0",
    "DenseNet121",
    "NASNetMobile",
    "ConvNeXtTiny",
    "Xception",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_keras_applications(name):
    size = {"NASNetMobile": 224, "Xception": 71}.get(name, 64)
    build = getattr(keras.applications, name)
    model = randomized(lambda: build(weights=None, classifier_activation=None, input_shape=(size, size, 3), classes=7))
    groups = channel_groups(model)
    assert groups.pinned == ()
    mask = random_mask(groups, 0)
    small = slim(model, mask, groups)
    (whole,), (reference,), (result,) = map(outputs, (model, masked(model, mask, groups), small))
    np.testing.assert_allclose(result, reference, rtol=1e-4, atol=1e-4 * np.abs(reference).max())
    assert np.abs(whole - reference).max() > 0.1 * np.abs(whole).max()
    assert CostModel(model, groups).complexity(mask) == complexity(small)
    assert complexity(small).macs < 0.35 * complexity(model).macs
