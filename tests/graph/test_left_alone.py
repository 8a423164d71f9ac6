"""What cannot be pruned is named, with the layer that holds it and the reason."""

import keras
import pytest

from tests.graph.agreement import assert_named
from tfprune.graph import Held, LeftAlone, channel_groups

layers = keras.layers
ops = keras.ops


def groups_after(between, width=16):
    inputs = keras.Input((8, 8, 3))
    x = between(layers.Conv2D(width, 3, padding="same", name="first")(inputs))
    x = layers.GlobalAveragePooling2D()(x) if len(x.shape) == 4 else x
    groups = channel_groups(keras.Model(inputs, layers.Dense(2, name="out")(x)))
    assert_named(groups)
    return groups


REASONS = {
    "mean": (lambda x: x - ops.mean(x, axis=-1, keepdims=True), "because of mean", "it reduces over them"),
    "norm": (lambda x: x / ops.sqrt(ops.sum(ops.square(x), -1, keepdims=True)), "because of sum", "reduces over"),
    "softmax": (lambda x: ops.softmax(x, axis=-1), "because of softmax", "it divides by a sum over them"),
    "position": (lambda x: x[..., 3], "because of get_item", "it takes a single one of them"),
}


@pytest.mark.parametrize("name", REASONS)
def test_the_layer_and_the_reason_are_named(name):
    between, cause, reason = REASONS[name]
    (text,) = groups_after(between).pinned
    assert text.startswith("first (Conv2D): ")
    assert cause in text
    assert reason in text


def test_outputs_come_last_and_are_not_among_the_pinned():
    groups = groups_after(lambda x: ops.softmax(x, axis=-1))
    assert [entry.is_output for entry in groups.left_alone] == [False, True]
    assert groups.left_alone[-1].held == (Held("out (Dense)", 2, 2),)
    assert str(groups.left_alone[-1]) == "out (Dense): 2 channels stay: they are outputs of the model"
    assert len(groups.pinned) == 1


def test_outputs_are_called_so_whatever_else_holds_them():
    inputs = keras.Input((4,))
    (entry,) = channel_groups(keras.Model(inputs, layers.Dense(3, "softmax", name="out")(inputs))).left_alone
    assert str(entry) == "out (Dense): 3 channels stay: they are outputs of the model"


def test_a_united_channel_stays_for_the_reason_of_either_side():
    inputs = keras.Input((4,))
    first, second = layers.Dense(6, name="first")(inputs), layers.Dense(6, name="second")(inputs)
    joined = layers.Add()([first, second])
    x = layers.Concatenate()([joined, ops.softmax(second)])
    (entry, _) = channel_groups(keras.Model(inputs, layers.Dense(2)(x))).left_alone
    assert entry.held == (Held("first (Dense)", 6, 6), Held("second (Dense)", 6, 6))


def test_ignored_layers_are_named():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2)(layers.Dense(6, name="first")(inputs)))
    assert channel_groups(model, ["first"]).pinned == ("first (Dense): 6 channels stay: ignored as asked",)


def test_one_reason_for_many_layers_takes_one_short_line():
    held = tuple(Held(f"dense_{number} (Dense)", 3, 4) for number in range(50))
    text = str(LeftAlone(("cut (Odd)",), "it reads them", held))
    assert text == (
        "dense_0, dense_1, dense_2 and 47 more: 150 of 200 channels stay because of cut (Odd): it reads them"
    )
    assert str(LeftAlone(("cut (Odd)",), "no rule", held, unknown=True)) == (
        "cut (Odd): no rule; holds dense_0 (3 of 4 channels), dense_1 (3 of 4 channels), dense_2 (3 of 4 channels) "
        "and 47 more"
    )


def test_layers_of_one_class_share_a_line():
    class Mixes(layers.Layer):
        def call(self, x):
            return x - ops.mean(x, axis=-1, keepdims=True)

    inputs = keras.Input((8,))
    x = inputs
    for index in range(5):
        x = Mixes(name=f"mix{index}")(layers.Dense(4 + index, name=f"dense{index}")(x))
    groups = channel_groups(keras.Model(inputs, layers.Dense(2, name="out")(x)))
    (entry,) = [entry for entry in groups.left_alone if not entry.is_output]
    assert entry.causes == tuple(f"mix{index} (Mixes)" for index in range(5))
    assert str(entry) == (
        "mix0, mix1, mix2 and 2 more (Mixes): no rule for Mixes; give one to tfprune.register_rule; they hold "
        "dense0 (4 channels), dense1 (5 channels), dense2 (6 channels) and 2 more"
    )
