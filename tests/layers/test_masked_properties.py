"""What holds for masked convolutions of any shape and any mask."""

import keras
import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.layers import MaskedConv2D, PSGConv2D
from tfprune.ops import quantize

RNG = np.random.default_rng(0)


@settings(max_examples=20, deadline=None)
@given(
    filters=st.integers(1, 5),
    size=st.integers(1, 3),
    stride=st.integers(1, 2),
    density=st.floats(0, 1),
    psg=st.booleans(),
)
def test_masked_is_stock_with_zeros_and_no_gradient_passes_a_mask(filters, size, stride, density, psg):
    settings = {"strides": stride, "padding": "same", "use_bias": False}
    layer = (
        PSGConv2D(filters, size, relative_threshold=0.1, **settings) if psg else MaskedConv2D(filters, size, **settings)
    )
    stock = keras.layers.Conv2D(filters, size, **settings)
    images = tf.constant(RNG.normal(size=(2, 5, 5, 3)).astype(np.float32))
    stock(images), layer(images)
    mask = RNG.random(layer.kernel.shape) < density
    layer.mask.assign(mask)
    stock.kernel.assign(layer.kernel * mask.astype(np.float32))
    with tf.GradientTape() as tape:
        outputs = layer(images)
        loss = tf.reduce_sum(outputs * outputs)
    np.testing.assert_array_equal(outputs, stock(images))
    gradient = tape.gradient(loss, layer.kernel.value).numpy()
    assert np.isfinite(gradient).all()
    assert np.all(gradient[~mask] == 0)


@settings(max_examples=40, deadline=None)
@given(bits=st.integers(2, 12), signed=st.booleans(), scale=st.floats(1e-3, 1e3))
def test_quantising_errs_by_half_a_step_and_no_more_the_second_time(bits, signed, scale):
    values = RNG.uniform(-1 if signed else 0, 1, 50).astype(np.float32) * np.float32(scale)
    largest = np.float32(np.abs(values).max())
    once = quantize(tf.constant(values), bits, largest, signed=signed).numpy()
    step = largest * (2 if signed else 1) / 2**bits
    inside = values <= largest - step  # the largest value itself has no level
    assert np.all(np.abs(once - values)[inside] <= step * 0.501)
    np.testing.assert_allclose(
        quantize(tf.constant(once), bits, largest, signed=signed), once, rtol=1e-5, atol=1e-6 * largest
    )
