"""Layers with layers inside are replaced by what they compute."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import opaque_layers as opaque
from tests.graph.agreement import with_zeros
from tfprune.graph import channel_groups, complexity, slim
from tfprune.graph.calls import model_graph
from tfprune.graph.execute import Forward
from tfprune.graph.masked import masked
from tfprune.graph.opened_graph import is_opaque, opened_graph

layers = keras.layers


def model_of(*blocks, width=8, length=None):
    inputs = keras.Input((length, width), name="x")
    x = layers.Dense(width, name="stem")(inputs)
    for block in blocks:
        x = block(x)
    model = keras.Model(inputs, layers.Dense(3, name="head")(x))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    return model


def batch(examples=3, length=5, width=8):
    return np.random.default_rng(1).normal(size=(examples, length, width)).astype(np.float32)


def names(model):
    return [call.name for call in opened_graph(model).calls]


def test_calls_within_a_layer_are_named_after_it_and_their_layers():
    assert names(model_of(opaque.GatedMLP(12, name="block"))) == [
        *("x", "stem", "block/norm", "block/gate", "block/silu", "block/up", "block/multiply", "block/down"),
        *("block/add", "head"),
    ]


def test_layers_within_opened_layers_are_opened_in_turn():
    graph = opened_graph(model_of(opaque.Stack(12, name="stack")))
    assert [layer.name for layer in graph.opened] == ["stack", "stack/block_0", "stack/block_1"]
    assert [layer.within for layer in graph.opened] == [None, "stack", "stack"]
    assert "stack/block_1/gate" in {call.name for call in graph.calls}


def test_names_are_the_same_in_each_reading_and_distinct_in_each_layer():
    model = model_of(opaque.CausalBlock(2, name="block"))
    assert names(model) == names(model)
    assert len(set(names(model))) == len(names(model))


def test_reading_changes_nothing_of_the_layer():
    block = opaque.Stack(12, name="stack")
    model = model_of(block)
    parts = list(model._flatten_layers())
    before = [(len(part._inbound_nodes), len(part._outbound_nodes), set(vars(part))) for part in parts]
    channel_groups(model)
    assert [(len(part._inbound_nodes), len(part._outbound_nodes), set(vars(part))) for part in parts] == before


def test_sizes_are_given_only_if_a_layer_needs_to_know_them():
    assert opened_graph(model_of(opaque.GatedMLP(12))).sizes is None
    graph = opened_graph(model_of(opaque.CausalBlock(2)))
    assert graph.sizes == ((2, 8, 8),)
    assert all(None not in tensor.shape for call in graph.calls for tensor in call.outputs)
    assert all(call.examples == 2 for call in graph.calls)
    assert opened_graph(model_of(opaque.CausalBlock(2)), [(4, 6, 8)]).sizes == ((4, 6, 8),)


def test_code_counts_and_not_what_a_layer_says_that_it_returns():
    model = model_of(opaque.Unpacking(name="block"))
    assert [layer.name for layer in opened_graph(model).opened] == ["block", "block/pair"]
    groups = channel_groups(model)
    assert [group.name for group in groups] == ["stem", "block/pair/inside"]
    np.testing.assert_allclose(Forward(model, groups)(batch()), model(batch()), rtol=1e-5, atol=1e-6)


def test_sizes_are_given_where_a_width_follows_from_them():
    graph = opened_graph(model_of(opaque.MergedHeads(4, 3, name="block")))
    assert graph.sizes == ((2, 8, 8),)
    assert {tensor.shape[-1] for call in graph.calls if call.name == "block/merge" for tensor in call.inputs} == {12}


def test_what_cannot_be_traced_is_left_alone_with_what_stopped_it():
    model = model_of(opaque.Branching(name="branching"))
    graph = opened_graph(model)
    assert not graph.opened
    assert "branching" in graph.closed
    groups = channel_groups(model)
    assert len(groups) == 0
    (entry,) = (each for each in groups.left_alone if each.unknown)
    assert entry.reason.startswith("no rule for Branching, and its code cannot be read on symbolic tensors (")


def test_layers_with_rules_and_models_are_not_opaque():
    assert not is_opaque(layers.MultiHeadAttention(2, 4), within=True)
    assert not is_opaque(layers.Dense(2), within=True)
    assert is_opaque(model_of(opaque.GatedMLP(4)).layers[2], within=False)
    assert not model_graph(model_of(opaque.GatedMLP(12))).opened, "only who asks for it reads opened layers"


@pytest.mark.parametrize("make", [lambda: opaque.GatedMLP(12), lambda: opaque.CausalBlock(2), lambda: opaque.Stack(8)])
@pytest.mark.parametrize("shape", [(3, 5), (1, 9)])
def test_call_by_call_the_model_computes_the_same(make, shape):
    model = model_of(make())
    x = batch(*shape)
    np.testing.assert_allclose(Forward(model, channel_groups(model))(x), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "freed"),
    [
        (lambda: opaque.GatedMLP(12, name="b"), []),
        (lambda: opaque.CausalBlock(4, head_dim=3, name="b"), []),
        (lambda: opaque.Stack(8, name="b"), ["b", "b/block_0", "b/block_1"]),
        (lambda: opaque.Scaled(name="b"), ["b"]),
        (lambda: opaque.MergedHeads(4, 3, name="b"), []),
        (lambda: opaque.Experts(8, name="b"), []),
        (lambda: opaque.TwoAttentions(4, name="b"), []),
    ],
)
def test_pruned_models_equal_those_with_zeros(make, freed, tmp_path):
    model = model_of(make())
    groups = channel_groups(model)
    mask = np.ones(groups.channels, bool)
    for group in groups:
        if group.name.startswith("b/"):
            mask[group.channels][1::2] = False
    assert not mask.all()
    small = slim(model, mask, groups)
    assert [layer.name for layer in groups.expanded(mask)] == freed
    assert small.count_params() < model.count_params()
    x = batch()
    assert np.abs(small(x) - model(x)).max() > 0.1
    reference = np.asarray(masked(model, mask, groups)(batch(*(groups.graph.sizes or [(3, 5)])[0][:2])))
    with_zeros(model, mask, groups)
    np.testing.assert_allclose(small(x), model(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(reference, model(batch(*reference.shape[:2])), rtol=1e-5, atol=1e-5)
    small.save(tmp_path / "small.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "small.keras")(x), small(x), rtol=1e-6, atol=1e-6)


def test_heads_of_one_setting_go_together():
    groups = channel_groups(model_of(opaque.TwoAttentions(4, name="b")))
    assert [(group.name, group.size) for group in groups if group.name != "stem"] == [("b/first/query.h", 4)]
    assert "b/second/query.h" in groups[-1].layers


def test_an_axis_is_split_where_a_setting_says_the_part():
    groups = channel_groups(model_of(opaque.MergedHeads(4, 3, name="b")))
    assert [(group.name, group.size, group.multiplicity) for group in groups[1:]] == [("b/query", 4, 3)]


def test_rows_of_positions_cost_what_positions_do():
    model = model_of(opaque.Experts(8, name="b"), length=5)
    assert channel_groups(model).graph.sizes == ((2, 5, 8),)
    assert complexity(model).macs == 5 * (8 * 8 + 2 * 8 * 8 + 8 * 8 + 8 * 3)


def test_classes_are_kept_if_asked():
    model = model_of(opaque.Stack(8, name="stack"), opaque.GatedMLP(8, name="mlp"))
    groups = channel_groups(model, keep_classes=True)
    assert [group.name for group in groups] == ["stem", "stack/block_0/gate", "mlp/gate"]
    assert "stack/block_1/gate" in groups[1].layers, "one setting says both widths"
    assert [group.name for group in channel_groups(model)] == [
        *("stem", "stack/block_0/gate", "stack/block_1/gate", "mlp/gate"),
    ]


def test_what_no_setting_says_stays_where_classes_are_kept():
    groups = channel_groups(model_of(opaque.CausalBlock(2, name="block")), keep_classes=True)
    assert len(groups) == 0
    assert "none of its settings says their number" in " ".join(str(groups).split())


def test_a_weight_that_the_layer_uses_itself_goes_with_what_it_meets():
    groups = channel_groups(model_of(opaque.Scaled(name="scaled")))
    assert [(group.name, group.size) for group in groups] == [("stem", 8), ("scaled/inside", 6), ("scaled/outside", 8)]
    (slot,) = groups.by_layer["scaled/factor"].slots
    np.testing.assert_array_equal(slot.channels, groups.produced["scaled/inside"])
    assert list(groups.freed) == ["scaled"], "no setting says the width"


def test_gradients_reach_weights_within_opened_layers_in_training():
    model = model_of(opaque.Stack(8, name="b"))
    groups = channel_groups(model)
    mask = np.ones(groups.channels, bool)
    mask[::3] = False
    small = slim(model, mask, groups)
    small.compile("sgd", "mse")
    before = [np.asarray(weight) for weight in small.trainable_weights]
    small.fit(batch(), np.zeros((3, 5, 3), np.float32), verbose=0)
    assert all(np.any(np.asarray(new) != old) for new, old in zip(small.trainable_weights, before, strict=True))


def test_a_model_is_read_for_other_sizes_while_a_function_is_traced():
    model = model_of(opaque.CausalBlock(2, name="b"))
    forward = Forward(model, channel_groups(model))
    x = batch(3, 6)
    for _ in range(2):
        np.testing.assert_allclose(tf.function(forward)(x), model(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(forward(x), model(x), rtol=1e-5, atol=1e-6)
