import keras
import numpy as np
import pytest

from tfprune.graph import KernelReads
from tfprune.layers import ChannelMaskedDense

layers = keras.layers
SHAPES = {1: (9, 4), 2: (7, 6, 4), 3: (5, 4, 5, 4)}


@pytest.mark.parametrize(
    ("layer", "rank"),
    [
        (layers.Dense(3, use_bias=False), 2),
        (layers.Conv1D(3, 3, padding="causal", dilation_rate=2, use_bias=False), 1),
        (layers.Conv2D(6, (3, 2), padding="same", strides=2, groups=2, use_bias=False), 2),
        (layers.Conv2D(5, 3, padding="valid", dilation_rate=2, use_bias=False), 2),
        (layers.Conv3D(2, 2, padding="same", strides=(1, 2, 1), use_bias=False), 3),
        (layers.DepthwiseConv2D(3, padding="same", strides=2, depth_multiplier=2, use_bias=False), 2),
    ],
)
def test_channels_times_rows_are_the_outputs(layer, rank):
    x = np.random.default_rng(0).normal(size=(5, *SHAPES[rank])).astype(np.float32)
    expected = np.asarray(layer(x)).reshape(-1, layer.kernel.shape[-1] * (1 if "depth" not in layer.name else 4))
    reads = KernelReads.from_layer(layer)
    channels = reads.by_channel(layer.kernel)
    rows = np.concatenate([part.numpy() for part in reads.parts(x)], axis=1)
    assert (reads.groups, reads.features) == (rows.shape[0], rows.shape[2]) == (channels.shape[0], channels.shape[2])
    found = np.einsum("grf,guf->rgu", rows, channels).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_array_equal(reads.as_kernel(channels), layer.kernel)


EQUATIONS = {
    "abc,cd->abd": ((4, 3), (4, 5), 1, 3),
    "abc,cde->abde": ((4, 3), (4, 2, 5), 1, 3),
    "abcd,cde->abe": ((4, 3, 2), (4, 5), 1, 6),
    "abcd,dec->abe": ((4, 3, 2), (4, 5), 1, 6),
    "abc,dc->adb": ((4, 3), (5, 4), 1, 3),
    "abc,bcd->abd": ((4, 3), (4, 5), 4, 3),
    "ab,bcd->acd": ((6,), (2, 3), 1, 6),
    "...x,xy->...y": ((4, 2, 3), (4, 2, 5), 1, 3),
    "ab...,bc->ac...": ((3, 4, 2), (5, 4, 2), 1, 3),
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_channels_times_rows_are_the_outputs_of_an_einsum(equation):
    """Outputs are compared as sets of rows: their axes may have any order."""
    sizes, made, groups, features = EQUATIONS[equation]
    layer = layers.EinsumDense(equation, made)
    x = np.random.default_rng(0).normal(size=(7, *sizes)).astype(np.float32)
    expected = np.asarray(layer(x))
    reads = KernelReads.from_layer(layer)
    channels = reads.by_channel(layer.kernel)
    rows = np.concatenate([part.numpy() for part in reads.parts(x)], axis=1)
    assert (reads.groups, reads.features) == (rows.shape[0], rows.shape[2]) == (groups, features)
    found = np.einsum("grf,guf->gru", rows, channels)
    assert found.size == expected.size
    np.testing.assert_allclose(np.sort(found, axis=None), np.sort(expected, axis=None), atol=1e-5)
    np.testing.assert_array_equal(reads.as_kernel(channels), layer.kernel)


def test_kinds_that_read_otherwise():
    for layer in (layers.Conv2DTranspose(2, 3), layers.SeparableConv2D(2, 3), ChannelMaskedDense(2)):
        assert KernelReads.from_layer(layer) is None
    summing = layers.EinsumDense("abc,cd->ad", (2,))  # over positions, too
    summing.build((None, 4, 3))
    assert KernelReads.from_layer(summing) is None
