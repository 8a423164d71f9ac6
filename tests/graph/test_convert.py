import keras
import numpy as np
import pytest

from tfprune.errors import ConfigError
from tfprune.graph import FAMILIES, convert
from tfprune.layers import ChannelMaskedConv2D, ChannelMaskedDense, FusedBatchNormalization, ScoredBatchNormalization
from tfprune.models import build_model


@pytest.fixture(scope="module")
def model():
    model = build_model("ResNet-20", num_classes=3, input_shape=(8, 8, 1), seed=1)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            layer.moving_mean.assign(rng.normal(size=layer.gamma.shape))
    return model


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("training", [False, True])
def test_every_family_computes_the_same(model, family, training):
    images = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype(np.float32)
    expected = convert(model, "plain")(images, training=training)
    np.testing.assert_allclose(convert(model, family)(images, training=training), expected, atol=2e-5)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_names_and_weights_stay(model, family):
    new = convert(model, family)
    assert [layer.name for layer in new.layers] == [layer.name for layer in model.layers]
    for layer in model.layers:
        values = {variable.name: variable for variable in new.get_layer(layer.name).variables}
        for variable in layer.variables:
            np.testing.assert_array_equal(values[variable.name], variable)


def test_the_right_layers_are_swapped(model):
    kinds = {type(layer) for layer in convert(model, "channel_masked").layers}
    assert {ChannelMaskedConv2D, ChannelMaskedDense, FusedBatchNormalization} <= kinds
    assert not kinds & {keras.layers.Conv2D, keras.layers.Dense, keras.layers.BatchNormalization}
    assert ScoredBatchNormalization in {type(layer) for layer in convert(model, "gated").layers}
    back = convert(convert(model, "fused"), "plain")
    assert {type(layer) for layer in back.layers} == {type(layer) for layer in model.layers}


def test_number_format_and_float32_outputs(model):
    new = convert(model, "fused", dtype="mixed_bfloat16")
    assert new.get_layer("conv").compute_dtype == "bfloat16"
    assert new.get_layer("fc").compute_dtype == "float32"
    assert new(np.zeros((1, 8, 8, 1), np.float32)).dtype == "float32"
    assert all(variable.dtype == "float32" for variable in new.variables)


def test_options_reach_the_swapped_layers(model):
    new = convert(model, "fused", options={"synchronized": True})
    assert new.get_layer("bn").synchronized


def test_unknown_family(model):
    families = "plain, fused, channel_masked, gated, masked, psg, subnet"
    with pytest.raises(ConfigError, match=f"a layer family out of {families}; received 'x'"):
        convert(model, "x")


def test_composite_layers_keep_their_weights():
    layers = keras.layers
    inputs = keras.Input((6, 4))
    x = layers.Bidirectional(layers.LSTM(5, return_sequences=True))(inputs)
    x = layers.MultiHeadAttention(2, 3)(x, x)
    model = keras.Model(inputs, layers.BatchNormalization()(x))
    values = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    for family in ("plain", "fused"):
        np.testing.assert_allclose(convert(model, family)(values), model(values), atol=1e-6)
