import keras
import numpy as np
import pytest

from tfprune.errors import UnsupportedLayerError
from tfprune.graph import PINNED, channel_groups, model_calls, register_rule
from tfprune.recipes.models import build_model

layers = keras.layers


def residual_model() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    y = layers.Conv2D(6, 3, padding="same", name="inner")(x)
    y = layers.Conv2D(4, 3, padding="same", name="outer")(y)
    x = layers.Add()([x, y])
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(5, name="fc")(x))


def test_residual_sums_tie_channels():
    groups = channel_groups(residual_model())
    assert [(group.name, group.start, group.size, group.layers) for group in groups] == [
        ("stem", 0, 4, ("stem", "outer")),
        ("inner", 4, 6, ("inner",)),
    ]
    assert groups.channels == 10
    assert groups.owner.tolist() == [0] * 4 + [1] * 6


def test_slots_of_kernels_and_flattened_channels():
    groups = channel_groups(residual_model())
    kernel_in, kernel_out, bias = groups.slots["outer"]
    assert (kernel_in.weight, kernel_in.axis, kernel_in.role) == ("kernel", -2, "in")
    assert kernel_in.channels.tolist() == list(range(4, 10))
    assert kernel_out.channels.tolist() == bias.channels.tolist() == [0, 1, 2, 3]
    flattened = groups.slots["fc"][0]
    assert flattened.channels.tolist() == [0, 1, 2, 3] * 64
    assert set(groups.slots["fc"][1].channels.tolist()) == {PINNED}
    mask = np.ones(10, bool)
    mask[1] = False
    assert flattened.kept(mask).tolist() == [i for i in range(256) if i % 4 != 1]


def test_golden_groups_of_resnet56(golden):
    groups = channel_groups(build_model("ResNet-56", num_classes=10, input_shape=(32, 32, 3)))
    names = [f"ResNet/{group.name.replace('block', 'BasicBlock').replace('_', '/')}" for group in groups]
    recorded = [name if name.startswith("ResNet/") else f"ResNet/{name}" for name in golden["gate_names"].tolist()]
    assert names == recorded
    assert [group.size for group in groups] == golden["gate_channels"].tolist()
    assert [len(group.layers) for group in groups] == [max(1, calls) for calls in golden["gate_num_call"].tolist()]


@pytest.mark.parametrize("field", ["in", "out"])
def test_golden_gates_of_each_layer(golden, field):
    groups = channel_groups(build_model("ResNet-56", num_classes=10, input_shape=(32, 32, 3)))
    for pair in golden[f"layer_{field}_gate"].tolist():
        layer, gate = (part.removeprefix("ResNet/") for part in pair.split("<-"))
        slots = groups.slots[layer.replace("BasicBlock", "block").replace("/", "_")]
        slot = next(each for each in slots if each.role in (field, "pass"))
        group = groups[groups.group_of(slot.channels)]
        assert group.name.replace("block", "BasicBlock").replace("_", "/") == gate


def test_calls_come_in_the_order_they_were_written():
    model = build_model("ResNet-20", num_classes=10, input_shape=(32, 32, 3))
    names = [call.name for call in model_calls(model)]
    assert names.index("block1.0_conv3") < names.index("block1.0_conv1")
    seen: set[int] = set()
    for call in model_calls(model):
        assert all(id(tensor) in seen for tensor in call.inputs)
        seen.update(id(tensor) for tensor in call.outputs)


class Odd(keras.layers.Layer):
    def call(self, inputs):
        return keras.ops.cumsum(inputs, axis=-1)


def test_what_no_rule_knows_is_left_alone_and_named():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="a")(inputs)
    x = Odd(name="odd")(x)
    x = layers.Conv2D(5, 3, name="b")(x)
    groups = channel_groups(keras.Model(inputs, layers.Conv2D(2, 3, name="c")(x)))
    assert [group.name for group in groups] == ["b"]
    assert groups.pinned == ("odd (Odd): no rule for Odd; give one to tfprune.register_rule; holds a (4 channels)",)
    assert str(groups).splitlines()[3:] == [
        "left alone:",
        "  odd (Odd): no rule for Odd; give one to tfprune.register_rule; holds a (4",
        "    channels)",
        "  c (Conv2D): 2 channels stay: they are outputs of the model",
    ]


def test_grouped_convolutions_tie_their_groups():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, name="a")(inputs)
    x = layers.Conv2D(12, 3, groups=4, name="grouped")(x)
    groups = channel_groups(keras.Model(inputs, layers.Conv2D(2, 1)(x)))
    assert [(group.name, group.size, group.multiplicity) for group in groups] == [("a", 2, 4), ("grouped", 3, 4)]
    kernel_in, kernel_out, _ = groups.slots["grouped"]
    np.testing.assert_array_equal(kernel_in.channels, [0, 1])
    np.testing.assert_array_equal(kernel_out.channels, [2, 3, 4] * 4)


@keras.saving.register_keras_serializable(package="test")
class Centring(keras.layers.Layer):
    def call(self, inputs):
        return inputs - keras.ops.mean(inputs, axis=-1, keepdims=True)


def test_users_can_add_rules():
    def build():
        inputs = keras.Input((8, 8, 3))
        x = Centring()(layers.Conv2D(4, 3, name="a")(inputs))
        return keras.Model(inputs, layers.Conv2D(2, 3)(x))

    assert len(channel_groups(build())) == 0
    register_rule(Centring, like=layers.ReLU)
    assert [group.name for group in channel_groups(build())] == ["a"]
    with pytest.raises(UnsupportedLayerError, match="such as Conv2D, or a function, received TFSMLayer"):
        register_rule(Centring, like=layers.TFSMLayer)


def test_models_without_a_graph_are_refused():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(UnsupportedLayerError, match="functional or sequential"):
        channel_groups(Subclassed())


def test_the_calls_of_a_shared_layer_are_united():
    inputs = keras.Input((8, 8, 3))
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    x = shared(shared(layers.Conv2D(4, 1, name="first")(inputs)))
    groups = channel_groups(keras.Model(inputs, layers.Conv2D(2, 1)(x)))
    assert [(group.size, group.layers) for group in groups] == [(4, ("first", "shared"))]


def test_layers_can_be_left_alone_by_name_by_pattern_and_by_object():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="a1")(inputs)
    x = layers.Conv2D(5, 3, name="a2")(x)
    x = layers.Conv2D(6, 3, name="b")(x)
    model = keras.Model(inputs, layers.Conv2D(2, 1)(x))
    assert [group.name for group in channel_groups(model)] == ["a1", "a2", "b"]
    assert [group.name for group in channel_groups(model, ignore=["a1"])] == ["a2", "b"]
    assert [group.name for group in channel_groups(model, ignore=["a?"])] == ["b"]
    assert [group.name for group in channel_groups(model, ignore=[model.get_layer("b")])] == ["a1"]
    with pytest.raises(UnsupportedLayerError, match="received 'c', which it lacks"):
        channel_groups(model, ignore=["c"])


def attending():
    inputs = keras.Input((5, 12))
    x = layers.MultiHeadAttention(3, 4, value_dim=2, name="attention")(inputs, inputs)
    return keras.Model(inputs, layers.Dense(2)(x))


def test_attention_counts_heads_and_channels_of_one_head():
    assert {group.name: (group.size, group.multiplicity) for group in channel_groups(attending())} == {
        "attention.heads": (3, 1),
        "attention.keys": (4, 1),
        "attention.values": (2, 1),
        "attention": (12, 1),
    }


def test_what_a_layer_has_within_it_is_left_alone_with_it():
    model = attending()
    for ignore in ("attention", "att*", [model.get_layer("attention")], ["*"]):
        groups = channel_groups(model, ignore=ignore)
        assert len(groups) == 0
        assert "attention.keys, attention.values" in groups.pinned[0]
        assert "21 channels stay" in groups.pinned[0]
    left = ["attention.keys", "attention.values", "attention"]
    assert [group.name for group in channel_groups(model, ignore="attention.heads")] == left
    assert [group.name for group in channel_groups(model, ignore=["*.heads", "*.values"])] == [left[0], left[2]]
    with pytest.raises(UnsupportedLayerError, match=r"received 'attention\.head', which it lacks"):
        channel_groups(model, ignore="attention.head")


def test_a_table_counts_what_layers_have():
    """Of `a` and `grouped`, four go at once; two of `wide` are outputs of the model."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, name="a")(inputs)
    x = layers.Conv2D(12, 3, groups=4, name="grouped")(x)
    x = layers.Bidirectional(layers.GRU(5), name="both")(layers.Reshape((16, 12))(x))
    x = layers.Dense(7, name="wide")(x)
    model = keras.Model(inputs, [x[:, :2], layers.Dense(3, name="head")(x)])
    text = str(channel_groups(model)).replace("layers", "")
    title, header, *rows = [line.split() for line in text.splitlines()[:6]]
    assert " ".join(title) == (
        "4 channel groups, 37 channels, of which 15 are free: others go with one of them, or stay"
    )
    assert header == ["group", "channels", "free"]
    assert rows == [["a", "8", "2"], ["grouped", "12", "3"], ["both", "10", "5"], ["wide", "7", "5"]]


def test_dropout_of_whole_examples_passes_channels_on_and_fixed_noise_does_not():
    def groups_with(noise_shape):
        inputs = keras.Input((4, 4, 3))
        x = layers.Dropout(0.2, noise_shape=noise_shape)(layers.Conv2D(6, 1)(inputs))
        return channel_groups(keras.Model(inputs, layers.Conv2D(2, 1)(x)))

    assert len(groups_with(None)) == len(groups_with((None, 1, 1, 1))) == 1
    assert len(groups_with((None, 4, 4, 6))) == 0
