"""Opened layers that use weights themselves, and that make examples of positions, are pruned for any number of them."""

import keras
import numpy as np
import pytest

from tests import opaque_layers as opaque
from tfprune.graph import channel_groups, slim
from tfprune.graph.cost import CostModel
from tfprune.graph.labels import kept_positions, weight_at
from tfprune.graph.masked import masked

layers = keras.layers


def images_model(*blocks, width=8):
    inputs = keras.Input((8, 8, 3), name="images")
    x = layers.Conv2D(width, 3, padding="same", name="stem")(inputs)
    for block in blocks:
        x = block(x)
    return drawn(keras.Model(inputs, layers.Dense(3, name="head")(x)))


def tokens_model(*blocks, width=12):
    inputs = keras.Input((8, 8, 3), name="images")
    x = opaque.Tokens(width, name="tokens")(inputs)
    for block in blocks:
        x = block(x)
    return drawn(keras.Model(inputs, layers.Dense(3, name="head")(x)))


def drawn(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    return model


MODELS = {
    "tokens": tokens_model,
    "windows": lambda: images_model(opaque.Windows(2, 4, name="block")),
    "own operand": lambda: tokens_model(opaque.ByHand(2, name="block")),
}


def zeroed(model, mask, groups):
    """Sets to zero what makes, follows and reads masked channels: without normalizations, that removes them."""
    for each in groups.by_layer.values():
        for slot in each.slots:
            weight = weight_at(each.layer, slot.weight)
            array = np.asarray(weight).copy()
            if slot.role != "pass":
                np.moveaxis(array, slot.axis, 0)[~kept_positions(slot.channels, mask)] = 0
            weight.assign(array)
    return model


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("part", ["first", "others", "all"])
def test_pruned_models_equal_zeros_for_any_number_of_examples(name, part, tmp_path):
    model = MODELS[name]()
    groups = channel_groups(model)
    assert not groups.pinned
    mask = np.ones(groups.channels, bool)
    for index, group in enumerate(groups):
        if part == "all" or (index == 0) == (part == "first"):
            mask[group.channels][1::2] = False
    small = slim(model, mask, groups)
    x = np.random.default_rng(1).normal(size=(5, 8, 8, 3)).astype(np.float32)
    result = np.asarray(small(x))
    if not mask.all():
        assert small.count_params() < model.count_params()
        assert np.abs(result - model(x)).max() > 0.1
    examples = (groups.graph.sizes or [(5,)])[0][0]
    np.testing.assert_allclose(masked(model, mask, groups)(x[:examples]), result[:examples], rtol=1e-4, atol=1e-4)
    small.save(tmp_path / "small.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "small.keras")(x), result, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(zeroed(model, mask, groups)(x), result, rtol=1e-4, atol=1e-4)


def test_hidden_width_goes_through_tokens_and_tables(monkeypatch):
    monkeypatch.setattr("tfprune.graph.opened_graph._is_tried_whole", lambda *given: False)  # a trial would tell, too
    model = tokens_model()
    groups = channel_groups(model)
    assert [(group.name, group.size) for group in groups] == [("tokens/patches", 12)]
    follows = {name: [(slot.weight, slot.axis) for slot in each.slots] for name, each in groups.by_layer.items()}
    assert follows["tokens/token"] == [("variable", -1)]
    assert ("variable", -1) in follows["tokens/table"]
    assert follows["tokens/factor"] == [("variable", -1)]
    assert [edit.key for edit in groups.by_layer["tokens"].edits] == ["width"]
    assert CostModel(model, groups).totals(np.ones(12, bool))[0] == model.count_params()
    assert not CostModel(model, groups).uncounted
    mask = np.arange(12) % 3 > 0
    small, x = slim(model, mask, groups), np.ones((3, 8, 8, 3), np.float32)
    assert CostModel(model, groups).totals(mask)[0] == small.count_params()
    np.testing.assert_allclose(small(x), zeroed(model, mask, groups)(x), rtol=1e-5, atol=1e-5)


def test_windows_are_followed_through_the_axis_of_examples():
    model = images_model(opaque.Windows(2, 4, name="block"))
    groups = channel_groups(model)
    assert [(group.name, len(groups.produced[group.name]), group.size) for group in groups] == [
        ("stem", 8, 8),
        ("block/project", 24, 4),
        ("block/up", 12, 12),
    ]
    assert groups.graph.sizes == ((2, 8, 8, 3),)


def test_costs_count_each_window_of_an_example():
    model = images_model(opaque.Windows(2, 4, name="block"))
    positions, width = 64, 8
    products = 2 * positions * 4 * width
    dense = positions * (width * 3 * width + width * width + 2 * width * 12 + width * 3)
    stem = positions * 9 * 3 * width
    groups = channel_groups(model)
    assert CostModel(model, groups).totals(np.ones(groups.channels, bool))[1] == stem + dense + products
