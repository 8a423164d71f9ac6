"""Conversion to masked and PSG layers and back."""

from functools import partial

import keras
import numpy as np
import pytest

from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.graph import (
    LAYER_TYPES,
    SharedWeightsWarning,
    channel_groups,
    convert,
    masks_of,
    prunable_weights,
)
from tfprune.layers import (
    ChannelMaskedConv2D,
    ChannelMaskedDense,
    FusedBatchNormalization,
    MaskedConv2D,
    PSGConv2D,
    ScoredBatchNormalization,
)
from tfprune.masks import Masks
from tfprune.recipes.models import build_model

layers = keras.layers
SAME_OUTPUTS = ("channel_masked", "fused", "gated", "plain")
IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def convert_model():
    convert_model = build_model("ResNet-20", num_classes=3, input_shape=(8, 8, 1), seed=1)
    rng = np.random.default_rng(0)
    for layer in convert_model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            layer.moving_mean.assign(rng.normal(size=layer.gamma.shape))
    return convert_model


@pytest.mark.parametrize("family", SAME_OUTPUTS)
@pytest.mark.parametrize("training", [False, True])
def test_every_family_computes_the_same(convert_model, family, training):
    images = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype(np.float32)
    expected = convert(convert_model, "plain")(images, training=training)
    np.testing.assert_allclose(convert(convert_model, family)(images, training=training), expected, atol=2e-5)


@pytest.mark.parametrize("family", SAME_OUTPUTS)
def test_names_and_weights_stay(convert_model, family):
    new = convert(convert_model, family)
    assert [layer.name for layer in new.layers] == [layer.name for layer in convert_model.layers]
    for layer in convert_model.layers:
        values = {variable.name: variable for variable in new.get_layer(layer.name).variables}
        for variable in layer.variables:
            np.testing.assert_array_equal(values[variable.name], variable)


def test_the_right_layers_are_swapped(convert_model):
    kinds = {type(layer) for layer in convert(convert_model, "channel_masked").layers}
    assert {ChannelMaskedConv2D, ChannelMaskedDense, FusedBatchNormalization} <= kinds
    assert not kinds & {keras.layers.Conv2D, keras.layers.Dense, keras.layers.BatchNormalization}
    assert ScoredBatchNormalization in {type(layer) for layer in convert(convert_model, "gated").layers}
    back = convert(convert(convert_model, "fused"), "plain")
    assert {type(layer) for layer in back.layers} == {type(layer) for layer in convert_model.layers}


def test_number_format_and_float32_outputs(convert_model):
    new = convert(convert_model, "fused", dtype="mixed_bfloat16")
    assert new.get_layer("conv").compute_dtype == "bfloat16"
    assert new.get_layer("fc").compute_dtype == "float32"
    assert new(np.zeros((1, 8, 8, 1), np.float32)).dtype == "float32"
    assert all(variable.dtype == "float32" for variable in new.variables)


def test_options_reach_the_swapped_layers(convert_model):
    new = convert(convert_model, "fused", options={"synchronized": True})
    assert new.get_layer("bn").synchronized


def test_unknown_family(convert_model):
    families = "plain, fused, channel_masked, gated, masked, psg, subnet"
    assert families == ", ".join(LAYER_TYPES)
    with pytest.raises(ConfigError, match=f"a layer family out of {families}; received 'x'"):
        convert(convert_model, "x")


def test_composite_layers_keep_their_weights():
    layers = keras.layers
    inputs = keras.Input((6, 4))
    x = layers.Bidirectional(layers.LSTM(5, return_sequences=True))(inputs)
    x = layers.MultiHeadAttention(2, 3)(x, x)
    convert_model = keras.Model(inputs, layers.BatchNormalization()(x))
    values = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    for family in ("plain", "fused"):
        np.testing.assert_allclose(convert(convert_model, family)(values), convert_model(values), atol=1e-6)


@pytest.fixture
def weight_masks_model():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="inner")(layers.ZeroPadding2D(0)(x))
    x = layers.Add()([x, layers.Conv2D(4, 1, name="linear")(y)])
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    return keras.Model(inputs, layers.Dense(2, name="fc")(layers.GlobalAveragePooling2D()(keras.ops.relu(x))))


def random_masks(weight_masks_model):
    rng = np.random.default_rng(1)
    return Masks(
        {name: rng.random(weight.shape) < 0.5 for name, weight in prunable_weights(weight_masks_model).items()}
    )


@pytest.mark.parametrize("family", ["masked", "psg"])
def test_there_and_back(weight_masks_model, family):
    masks = random_masks(weight_masks_model)
    sparse = convert(weight_masks_model, family, masks)
    assert masks_of(sparse) == masks
    assert masks_of(convert(sparse, "masked" if family == "psg" else "psg")) == masks
    plain = convert(sparse, "plain")
    assert all(type(layer).__module__.startswith("keras.") for layer in plain.layers)
    np.testing.assert_array_equal(plain(IMAGES), sparse(IMAGES))
    for name, weight in prunable_weights(plain).items():
        assert not np.asarray(weight)[~masks[name]].any()
        np.testing.assert_array_equal(prunable_weights(sparse)[name], prunable_weights(weight_masks_model)[name])


def test_signedness_comes_from_the_graph(weight_masks_model):
    signed = {
        layer.name: layer.settings.input_signed
        for layer in convert(weight_masks_model, "psg").layers
        if "psg" in str(type(layer))
    }
    assert signed == {"stem": True, "inner": False, "linear": False, "depthwise": True, "fc": False}
    forced = convert(weight_masks_model, "psg", options={"input_signed": True, "input_bits": 4})
    assert forced.get_layer("inner").settings.input_signed
    assert forced.get_layer("inner").settings.input_bits == 4


def test_only_named_layers_are_swapped(weight_masks_model):
    sparse = convert(weight_masks_model, "psg", {"inner/kernel": np.ones((3, 3, 4, 4))})
    assert [layer.name for layer in sparse.layers if isinstance(layer, PSGConv2D)] == ["inner"]
    assert type(sparse.get_layer("stem")) is layers.Conv2D


def test_channels_of_masked_layers_are_left_alone(weight_masks_model):
    assert channel_groups(weight_masks_model).channels > 0
    assert channel_groups(convert(weight_masks_model, "masked")).channels == 0


def test_errors(weight_masks_model):
    with pytest.raises(ConfigError, match="received one of nothing/kernel"):
        convert(weight_masks_model, "masked", {"nothing/kernel": np.ones(3)})
    with pytest.raises(ConfigError, match=r"expected shape \(3, 3, 4, 4\) for inner/kernel"):
        convert(weight_masks_model, "masked", {"inner/kernel": np.ones(3)})
    with pytest.raises(ConfigError, match="expected the family masked or psg with masks"):
        convert(weight_masks_model, "plain", {"inner/kernel": np.ones((3, 3, 4, 4))})
    with pytest.raises(ConfigError, match="expected masked layers"):
        masks_of(weight_masks_model)
    odd = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2DTranspose(4, 3, name="up")])
    with pytest.raises(UnsupportedLayerError, match=r"up/kernel: expected one of .* received Conv2DTranspose"):
        convert(odd, "psg")
    assert masks_of(convert(odd, "masked")).density == 1
    assert isinstance(convert(weight_masks_model, "masked", dtype="mixed_bfloat16").get_layer("stem"), MaskedConv2D)


@pytest.mark.parametrize(
    "use", [lambda model: convert(model, "masked"), lambda model: convert(model, "plain"), prunable_weights]
)
def test_models_that_keras_has_quantized_are_named(use):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, name="first"), keras.layers.Dense(2, name="fc")])
    model.get_layer("fc").quantize("int8")
    with pytest.raises(UnsupportedLayerError, match="received layers that Keras has quantized: fc; prune, convert and"):
        use(model)


def twice(width=8) -> tuple[keras.Model, keras.Model]:
    """An architecture that is built twice, so that the automatic names differ."""
    stack = [[keras.Input((8, 8, 3)), layers.Conv2D(width, 3), layers.Flatten(), layers.Dense(2)] for _ in range(2)]
    return keras.Sequential(stack[0]), keras.Sequential(stack[1])


def test_masks_of_the_same_architecture_are_matched_by_position():
    first, second = twice()
    rng = np.random.default_rng(0)
    masks = Masks({name: rng.random(weight.shape) < 0.5 for name, weight in prunable_weights(first).items()})
    with pytest.raises(ConfigError, match=r'no prunable weight .* match="position" takes them so'):
        convert(second, "masked", masks)
    sparse = convert(second, "masked", masks, match="position")
    assert list(masks_of(sparse)) == list(prunable_weights(second))
    for found, mask in zip(masks_of(sparse).values(), masks.values(), strict=True):
        np.testing.assert_array_equal(found, mask)
    for weight, old, mask in zip(
        prunable_weights(convert(sparse, "plain")).values(),
        prunable_weights(second).values(),
        masks.values(),
        strict=True,
    ):
        np.testing.assert_array_equal(weight, np.asarray(old) * mask)


def test_masks_that_do_not_fit_by_position():
    first, second = twice()
    masks = Masks.full(prunable_weights(first))
    with pytest.raises(ConfigError, match="one for each of the 2 prunable weights of the model, received 1"):
        convert(second, "masked", {"any": next(iter(masks.values()))}, match="position")
    with pytest.raises(ConfigError, match=r"expected shape \(3, 3, 3, 8\) for .*, received \(3, 3, 3, 5\)"):
        convert(second, "masked", Masks.full(prunable_weights(twice(5)[0])), match="position")
    with pytest.raises(ConfigError, match="match: expected name or position, received 'order'"):
        convert(second, "masked", masks, match="order")
    with pytest.raises(ConfigError, match=r"another model's\?$"):
        convert(second, "masked", Masks.full(prunable_weights(twice(5)[0])))


@pytest.mark.parametrize("family", ["masked", "channel_masked", "subnet"])
@pytest.mark.parametrize(
    "function", [lambda x: x * keras.ops.sigmoid(2 * x), partial(keras.activations.gelu, approximate=True)]
)
def test_functions_that_keras_cannot_write_are_kept(family, function):
    inputs = keras.Input((4, 4, 2))
    x = keras.layers.Flatten()(keras.layers.Conv2D(6, 3, activation=function)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, activation=function)(x))
    images = np.random.default_rng(0).normal(size=(5, 4, 4, 2)).astype("float32")
    new = convert(model, family)
    assert all(layer.activation is function for layer in (new.layers[1], new.layers[-1]))
    # A sub-network is a part of the model; as the others, it comes back as a plain model.
    expected = convert(new, "plain") if family == "subnet" else model
    np.testing.assert_allclose(new(images, training=False), expected(images), rtol=1e-5, atol=1e-6)
    if family != "channel_masked":
        assert type(convert(new, "plain").layers[1]) is keras.layers.Conv2D


class Unwritten(keras.layers.Layer):
    """A block without `get_config`, whose constructor names no arguments."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.layers.Dense(5)

    def call(self, inputs):
        return self.inner(inputs)


def test_masks_find_layers_whose_configuration_has_no_name():
    inputs = keras.Input((4,))
    block = Unwritten()
    model = keras.Model(inputs, block(inputs))
    mask = np.random.default_rng(0).random((4, 5)) < 0.5
    new = convert(model, "masked", {f"{block.name}/inner.kernel": mask})
    assert [layer.name for layer in new.layers] == [layer.name for layer in model.layers]
    expected = np.eye(4) @ (np.asarray(block.inner.kernel) * mask)
    np.testing.assert_allclose(new(np.eye(4, dtype="float32")), expected, rtol=1e-6, atol=1e-7)


def test_every_holder_of_a_kernel_is_masked():
    inputs, steps = keras.Input((4,)), keras.Input((3, 4))
    dense = keras.layers.Dense(5, name="dense")
    wrapped = keras.layers.TimeDistributed(dense, name="time_distributed")(steps)
    model = keras.Model([inputs, steps], [dense(inputs), wrapped])
    mask = np.random.default_rng(0).random((4, 5)) < 0.5
    name, kernel = next(iter(prunable_weights(model).items()))
    with pytest.warns(SharedWeightsWarning, match="time_distributed and dense share weights"):
        new = convert(model, "masked", {name: mask})
    rows = np.eye(4, dtype="float32")[:, None].repeat(3, 1)
    single, timed = new([rows[:, 0], rows])
    np.testing.assert_allclose(single, np.asarray(kernel) * mask, atol=1e-6)
    np.testing.assert_allclose(timed[:, -1], single, atol=1e-6)
