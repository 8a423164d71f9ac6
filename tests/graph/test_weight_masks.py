"""Conversion to masked and PSG layers and back."""

import keras
import numpy as np
import pytest

from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.graph import channel_groups, convert, masks_of, prunable_weights
from tfprune.layers import MaskedConv2D, PSGConv2D
from tfprune.masks import Masks

layers = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)


@pytest.fixture
def model():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="inner")(layers.ZeroPadding2D(0)(x))
    x = layers.Add()([x, layers.Conv2D(4, 1, name="linear")(y)])
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    return keras.Model(inputs, layers.Dense(2, name="fc")(layers.GlobalAveragePooling2D()(keras.ops.relu(x))))


def random_masks(model):
    rng = np.random.default_rng(1)
    return Masks({name: rng.random(weight.shape) < 0.5 for name, weight in prunable_weights(model).items()})


@pytest.mark.parametrize("family", ["masked", "psg"])
def test_there_and_back(model, family):
    masks = random_masks(model)
    sparse = convert(model, family, masks)
    assert masks_of(sparse) == masks
    assert masks_of(convert(sparse, "masked" if family == "psg" else "psg")) == masks
    plain = convert(sparse, "plain")
    assert all(type(layer).__module__.startswith("keras.") for layer in plain.layers)
    np.testing.assert_array_equal(plain(IMAGES), sparse(IMAGES))
    for name, weight in prunable_weights(plain).items():
        assert not np.asarray(weight)[~masks[name]].any()
        np.testing.assert_array_equal(prunable_weights(sparse)[name], prunable_weights(model)[name])


def test_signedness_comes_from_the_graph(model):
    signed = {
        layer.name: layer.settings.input_signed for layer in convert(model, "psg").layers if "psg" in str(type(layer))
    }
    assert signed == {"stem": True, "inner": False, "linear": False, "depthwise": True, "fc": False}
    forced = convert(model, "psg", options={"input_signed": True, "input_bits": 4})
    assert forced.get_layer("inner").settings.input_signed
    assert forced.get_layer("inner").settings.input_bits == 4


def test_only_named_layers_are_swapped(model):
    sparse = convert(model, "psg", {"inner/kernel": np.ones((3, 3, 4, 4))})
    assert [layer.name for layer in sparse.layers if isinstance(layer, PSGConv2D)] == ["inner"]
    assert type(sparse.get_layer("stem")) is layers.Conv2D


def test_channels_of_masked_layers_are_left_alone(model):
    assert channel_groups(model).channels > 0
    assert channel_groups(convert(model, "masked")).channels == 0


def test_errors(model):
    with pytest.raises(ConfigError, match="received one of nothing/kernel"):
        convert(model, "masked", {"nothing/kernel": np.ones(3)})
    with pytest.raises(ConfigError, match=r"expected shape \(3, 3, 4, 4\) for inner/kernel"):
        convert(model, "masked", {"inner/kernel": np.ones(3)})
    with pytest.raises(ConfigError, match="expected the family masked or psg with masks"):
        convert(model, "plain", {"inner/kernel": np.ones((3, 3, 4, 4))})
    with pytest.raises(ConfigError, match="expected masked layers"):
        masks_of(model)
    odd = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2DTranspose(4, 3, name="up")])
    with pytest.raises(UnsupportedLayerError, match=r"up/kernel: expected one of .* received Conv2DTranspose"):
        convert(odd, "masked")
    assert isinstance(convert(model, "masked", dtype="mixed_bfloat16").get_layer("stem"), MaskedConv2D)
