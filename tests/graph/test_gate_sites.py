import keras
import numpy as np

from tfprune.graph import channel_groups, convert, gate_sites
from tfprune.graph.gate_sites import sites_by_group
from tfprune.models import build_model

layers = keras.layers


def found(model):
    groups = channel_groups(model)
    return [(groups[site.group].name, site.layer) for site in gate_sites(groups)]


def test_golden_gates_of_resnet56(golden):
    """In the original the stem's and the projections' gates act after the sums, 10, 9 and 9 times; others once."""
    model = build_model("ResNet-56", num_classes=10, input_shape=(32, 32, 3))
    groups = channel_groups(model)
    sites = sites_by_group(gate_sites(groups), groups)
    names = [str(name).replace("BasicBlock", "block").replace("/", "_") for name in golden["gate_names"]]
    assert [group.name for group in groups] == names
    for group, mine in zip(groups, sites, strict=True):
        acts = [site.layer for site in mine]
        if group.name == "conv":
            assert acts == ["relu", *(f"block0.{block}_relu2" for block in range(9))]
        elif group.name.endswith("conv3"):
            assert acts == [f"{group.name[:6]}.{block}_relu2" for block in range(9)]
        else:
            assert acts == [group.name.replace("conv1", "relu1")]
        for site in mine:
            assert site.tensor is model.get_layer(site.layer).output


def test_swapped_batch_norms_change_nothing():
    model = build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1))
    assert found(convert(model, "fused")) == found(model)


def test_plain_chain():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="a")(inputs)
    x = layers.BatchNormalization(name="a_norm")(x)
    x = layers.Activation("tanh", name="a_tanh")(x)
    x = layers.Dropout(0.1, name="a_drop")(x)
    x = layers.Conv2D(5, 3, name="b")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, layers.Dense(2, name="out")(x))
    assert found(model) == [("a", "a_drop"), ("b", "b")]


def test_before_a_merge_there_is_no_gate_but_at_every_other_reader_one():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="a")(inputs)
    y = layers.Conv2D(4, 3, padding="same", name="b")(x)
    z = layers.ReLU(name="sum_relu")(layers.Add(name="sum")([x, y]))
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="out")(z))
    assert found(model) == [("a", "a"), ("a", "sum_relu")]  # `b` is read by the sum alone


def test_outputs_have_none():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(inputs))
    assert gate_sites(channel_groups(model)) == ()


def test_zeros_at_the_sites_are_what_slimming_removes():
    """With a group's channels zeroed at its sites, nothing behind them sees what the channels held before."""
    model = build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1), seed=0)
    groups = channel_groups(model)
    reads = {name for name, slots in groups.slots.items() for slot in slots if slot.role == "in"}
    gated = {site.layer for site in gate_sites(groups)}
    producers = {}
    for layer in model.layers:
        if layer.name in reads and layer.name != "conv":
            before = layer.input._keras_history[0]
            if isinstance(before, layers.GlobalAveragePooling2D):
                before = before.input._keras_history[0]
            producers[layer.name] = before.name
    assert producers
    assert set(producers.values()) <= gated
    assert np.all([name.endswith(("relu", "relu1", "relu2")) for name in gated])
