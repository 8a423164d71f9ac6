from itertools import pairwise

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.graph import execute, model_calls, segments
from tfprune.models import build_model

layers = keras.layers


def names(segment):
    return [call.name for call in segment.calls]


@pytest.fixture(scope="module")
def resnet():
    return build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1), seed=0)


def test_a_residual_network_falls_into_stem_blocks_and_classifier(resnet):
    pieces = segments(model_calls(resnet))
    assert len(pieces) == 1 + 9 + 1
    assert names(pieces[0])[0] == "conv"
    for number, piece in enumerate(pieces[1:-1]):
        prefix = f"block{number // 3}.{number % 3}_"
        assert any(name == prefix + "conv2" for name in names(piece))
        assert sum(name.startswith(prefix) for name in names(piece)) >= 7
        assert {name.split("_")[0] for name in names(piece) if "conv" in name} == {prefix[:-1]}
    assert names(pieces[-1])[-1] == "fc"


def check(model):
    """They follow on each other, hold every call once, and make the model's output one after the other."""
    pieces = segments(model_calls(model))
    assert pieces[0].input is model.inputs[0]
    assert pieces[-1].output is model.outputs[0]
    for before, after in pairwise(pieces):
        assert after.input is before.output
        assert any(hasattr(call.layer, "kernel") for call in after.calls)
    order = [call.name for call in model_calls(model)][1:]
    assert [name for piece in pieces for name in names(piece)] == order
    value = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    expected = model(value, training=False)
    for piece in pieces:
        tensors = {id(piece.input): value}
        execute(piece.calls, tensors, lambda call: {})
        value = tensors[id(piece.output)]
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


def test_one_after_the_other_they_are_the_model(resnet):
    check(resnet)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["conv", "relu", "residual", "nested", "pool"]), min_size=1, max_size=6))
def test_any_network_with_one_input_and_output(parts):
    def convolution(x):
        return layers.Conv2D(4, 3, padding="same")(x)

    x = inputs = keras.Input((8, 8, 4))
    for part in parts:
        if part == "conv":
            x = convolution(x)
        elif part == "relu":
            x = layers.ReLU()(x)
        elif part == "pool":
            x = layers.AveragePooling2D(1)(x)
        elif part == "residual":
            x = layers.Add()([x, convolution(x)])
        else:
            y = layers.Add()([convolution(x), x])
            x = layers.Add()([x, convolution(y)])
    check(keras.Model(inputs, x))


def test_a_shortcut_over_everything_makes_one_segment():
    inputs = keras.Input((8, 8, 4))
    x = inputs
    for _ in range(3):
        x = layers.Conv2D(4, 3, padding="same")(x)
    assert len(segments(model_calls(keras.Model(inputs, layers.Add()([inputs, x]))))) == 1
