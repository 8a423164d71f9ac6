"""The masked layers: convolution, depthwise convolution, dense."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import UnsupportedLayerError
from tfprune.layers import ChannelMaskedConv2D, ChannelMaskedDense, ChannelMaskedDepthwiseConv2D

layers = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(4, 9, 9, 6)).astype(np.float32)

CASES = {
    "conv": (ChannelMaskedConv2D, layers.Conv2D, {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same"}),
    "dilated": (
        ChannelMaskedConv2D,
        layers.Conv2D,
        {"filters": 5, "kernel_size": 3, "dilation_rate": 2, "use_bias": False},
    ),
    "depthwise": (ChannelMaskedDepthwiseConv2D, layers.DepthwiseConv2D, {"kernel_size": 3, "depth_multiplier": 2}),
    "dense": (ChannelMaskedDense, layers.Dense, {"units": 5}),
}


def pair(name):
    """A masked layer and the stock one with the same weights, biases not zero."""
    masked_class, stock_class, arguments = CASES[name]
    masked, stock = masked_class(activation="relu", **arguments), stock_class(activation="relu", **arguments)
    stock(IMAGES)
    masked(IMAGES)
    rng = np.random.default_rng(1)
    for variable, same in zip(stock.trainable_variables, masked.trainable_variables, strict=True):
        value = rng.normal(size=variable.shape)
        variable.assign(value)
        same.assign(value)
    return masked, stock


@pytest.mark.parametrize("name", CASES)
def test_unmasked_equals_the_stock_layer(name):
    masked, stock = pair(name)
    np.testing.assert_allclose(masked(IMAGES), stock(IMAGES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
def test_masked_equals_the_stock_layer_with_a_masked_kernel(name, mode):
    masked, stock = pair(name)
    masked.in_mask.assign([1, 0, 1, 1, 0, 1])
    kernel = stock.kernel.numpy()
    whole = np.linalg.norm(kernel)
    kernel[..., [1, 4], :] = 0
    outputs = np.ones(kernel.shape[-1])
    if hasattr(masked, "out_mask"):
        outputs[3] = 0
        masked.out_mask.assign(outputs)
        kernel = kernel * outputs
        if stock.use_bias:
            stock.bias.assign(stock.bias.numpy() * outputs)
    elif stock.use_bias:
        stock.bias.assign(stock.bias.numpy() * np.repeat([1, 0, 1, 1, 0, 1], 2))
    stock.kernel.assign(kernel * whole / np.linalg.norm(kernel))
    call = masked if mode == "eager" else tf.function(masked, jit_compile=mode == "jit")
    np.testing.assert_allclose(call(IMAGES), stock(IMAGES), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("jit", [False, True])
def test_trains_saves_and_loads(tmp_path, policy, jit):
    inputs = keras.Input((9, 9, 6))
    x = ChannelMaskedConv2D(8, 3, dtype=policy, name="conv")(inputs)
    x = ChannelMaskedDepthwiseConv2D(3, dtype=policy, name="depthwise")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, ChannelMaskedDense(2, name="dense")(x))
    masks = {"conv": "out_mask", "depthwise": "in_mask", "dense": "in_mask"}
    for place, (name, mask) in enumerate(masks.items()):
        getattr(model.get_layer(name), mask).assign(np.arange(8) != place)
    before = [variable.numpy() for variable in model.trainable_variables]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss=loss, jit_compile=jit)
    history = model.fit(IMAGES, np.array([0, 1, 0, 1]), epochs=8, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert len(model.trainable_variables) == 6
    assert all(np.any(old != new) for old, new in zip(before, model.trainable_variables, strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for place, (name, mask) in enumerate(masks.items()):  # neither training nor the file changes a mask
        np.testing.assert_array_equal(getattr(loaded.get_layer(name), mask), np.arange(8) != place)
    np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))


def test_what_cannot_be_masked_is_refused():
    with pytest.raises(UnsupportedLayerError, match="expected groups=1 and channels last, received groups=2"):
        ChannelMaskedConv2D(4, 3, groups=2)
    with pytest.raises(UnsupportedLayerError, match="received groups=1 and channels_first"):
        ChannelMaskedConv2D(4, 3, data_format="channels_first")
    with pytest.raises(UnsupportedLayerError, match="expected channels last"):
        ChannelMaskedDepthwiseConv2D(3, data_format="channels_first")
