import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.graph import CostModel, channel_groups, complexity, slim
from tfprune.recipes.models import build_model

layers = keras.layers


def test_golden_layers_of_resnet56(golden):
    cost = complexity(build_model("ResNet-56", num_classes=10, input_shape=(32, 32, 3)))
    assert (cost.params, cost.flops) == (860_026, 126_837_376)
    assert (cost.params, cost.flops) == (golden["unpruned_params"], golden["unpruned_flops"])
    recorded = {
        name.removeprefix("ResNet/").replace("BasicBlock", "block").replace("/", "_"): (params, flops)
        for name, params, flops in zip(
            golden["layer_names"].tolist(), golden["layer_params"], golden["layer_flops"], strict=True
        )
    }
    assert {row.layer: (row.params, row.flops) for row in cost.layers} == recorded


def test_by_hand():
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=True)(inputs)  # 36 * 27 * 4
    x = layers.BatchNormalization()(x)  # 2 * 36 * 4
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)  # 36 * 9 * 4
    x = layers.GlobalAveragePooling2D()(x)
    cost = complexity(keras.Model(inputs, layers.Dense(2)(x)))
    assert cost.flops == 36 * 27 * 4 + 2 * 36 * 4 + 36 * 9 * 4 + 4 * 2
    assert cost.params == (27 * 4 + 4) + 16 + 36 + (8 + 2)
    assert cost.uncounted == ()


def test_models_at_each_point_in_time_cost_all_steps():
    inputs = keras.Input((4, 12, 12, 3))
    convolutions = keras.Sequential(
        [keras.Input((12, 12, 3)), layers.Conv2D(8, 3, name="conv"), layers.GlobalAveragePooling2D()], name="cnn"
    )
    x = layers.TimeDistributed(convolutions, name="each")(inputs)
    model = keras.Model(inputs, layers.Dense(3, name="head")(layers.LSTM(16, name="lstm")(x)))
    cost = complexity(model)
    each, lstm, head = 4 * 100 * 27 * 8, 4 * 64 * (8 + 16), 16 * 3
    assert {row.layer: row.macs for row in cost.layers} == {"each/conv": each, "lstm": lstm, "head": head}
    assert cost.params == (27 * 8 + 8) + 64 * (8 + 16 + 1) + (16 * 3 + 3)
    assert (cost.uncounted, cost.unknown) == ((), 0)
    groups = channel_groups(model)
    assert sorted(group.size for group in groups) == [8, 16]
    half = np.arange(groups.channels) % 2 == 0
    assert CostModel(model, groups).totals(half)[1] == each // 2 + 4 * 32 * (4 + 8) + 8 * 3
    assert CostModel(model, groups).complexity(half) == complexity(slim(model, half))


def test_recurrent_layers_cost_their_steps():
    inputs = keras.Input((6, 3))
    both = complexity(keras.Model(inputs, layers.Bidirectional(layers.LSTM(2))(inputs)))
    assert both.uncounted == ()
    assert both.params == 2 * 4 * (3 * 2 + 2 * 2 + 2)
    assert both.macs == 2 * 6 * 4 * (3 * 2 + 2 * 2)
    images = keras.Input((6, 5, 5, 3))
    convolving = complexity(keras.Model(images, layers.ConvLSTM2D(2, 3, padding="same")(images)))
    assert convolving.macs == 6 * 25 * 9 * 4 * (3 * 2 + 2 * 2)


def test_grouped_convolutions_cost_their_kernels():
    inputs = keras.Input((6, 6, 4))
    cost = complexity(keras.Model(inputs, layers.Conv2D(8, 3, groups=2, padding="same")(inputs)))
    assert cost.macs == 36 * 9 * 2 * 8
    assert cost.params == 9 * 2 * 8 + 8


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_closed_form_equals_the_slimmed_model(seed):
    rng = np.random.default_rng(seed)
    model = build_model("ResNet-20", num_classes=4, input_shape=(8, 8, 1))
    groups = channel_groups(model)
    mask = rng.random(groups.channels) < rng.uniform(0.1, 0.9)
    for group in groups:
        mask[group.start] = True
    small = complexity(slim(model, mask, groups))
    assert CostModel(model, groups).totals(mask) == (small.params, small.flops)


def test_parameters_are_those_of_keras():
    model = build_model("ResNet-20", num_classes=10, input_shape=(32, 32, 3))
    assert complexity(model).params == model.count_params()


@pytest.mark.parametrize("name", ["ResNet-18", "ResNet-50"])
def test_imagenet_networks_are_counted(name):
    cost = complexity(build_model(name, num_classes=1000, input_shape=(224, 224, 3)))
    published = {"ResNet-18": 1.82e9, "ResNet-50": 4.09e9}[name]  # He et al., table 1: multiply-adds
    assert cost.flops == pytest.approx(published, rel=0.02)
