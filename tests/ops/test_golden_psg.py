"""Quantiser and predicted gradients against numbers of the original code."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfprune.layers import PSGConv2D
from tfprune.ops import mean_of_maxima, quantize


@pytest.fixture(scope="module")
def numbers(golden_peekaboo):
    return golden_peekaboo


def channels_last(array):
    return np.transpose(array, (0, 2, 3, 1))


def kernel_order(array):
    return np.transpose(array, (2, 3, 1, 0))


@pytest.mark.parametrize("bits", [2, 4, 8, 16, 31])
@pytest.mark.parametrize("name", ["x", "x_zero_row", "relu_x"])
@pytest.mark.parametrize("kind", ["signed_mean", "unsigned_mean", "signed_perchannel"])
def test_quantizer(numbers, name, kind, bits):
    x = numbers["e/quant/x"] if name == "relu_x" else numbers[f"e/quant/{name}"]
    x = np.maximum(x, 0) if name == "relu_x" else x
    want = numbers[f"e/quant/{name}/{kind}_{bits}"]
    bound = np.abs(x).max((1, 2, 3), keepdims=True) if kind.endswith("perchannel") else mean_of_maxima(x)
    got = quantize(tf.constant(x), bits, tf.constant(bound), signed=kind.startswith("signed")).numpy()
    assert np.isfinite(got).all()
    known = np.isfinite(want)  # the original has NaN in rows of zeros
    assert known.all() or (name == "x_zero_row" and kind.endswith("perchannel"))
    # The mean of the maxima is summed in another order than torch's.
    np.testing.assert_allclose(got[known], want[known], rtol=3e-7, atol=1e-7 * np.abs(x).max())
    assert not got[~known].any()


def test_nothing_is_quantized_at_32_bits_nor_where_all_is_zero(numbers):
    x = numbers["e/quant/x"]
    np.testing.assert_array_equal(quantize(x, 32, mean_of_maxima(x), signed=True), numbers["e/quant/x/identity_32"])
    zeros = np.zeros((2, 3), np.float32)
    for signed in (False, True):
        got = quantize(tf.constant(zeros), 4, mean_of_maxima(zeros), signed=signed)
        np.testing.assert_array_equal(got, numbers["e/quant/allzero"])


CASES = ["c3s1", "c3s2", "c1s2", "c3s1_signed", "dense_as_1x1"]


def run(numbers, case, **settings):
    """Output, input gradient and kernel gradient of a layer on a golden case."""
    get = {name: numbers[f"d/{case}/{name}"] for name in ("x", "w", "mask", "gout", "stride", "pad", "input_signed")}
    x = tf.constant(channels_last(get["x"]))
    pad = int(get["pad"])
    kernel = kernel_order(get["w"])
    layer = PSGConv2D(
        kernel.shape[-1],
        kernel.shape[:2],
        strides=int(get["stride"]),
        use_bias=False,
        input_signed=bool(get["input_signed"]),
        **settings,
    )
    padded = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    layer.build(padded.shape)
    layer.kernel.assign(kernel)
    layer.mask.assign(kernel_order(get["mask"]) != 0)

    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]]))
        return y, *tape.gradient(y, [x, layer.kernel.value], output_gradients=channels_last(get["gout"]))

    return [value.numpy() for value in gradients(x)]


def check(numbers, case, results, want):
    y, gx, gw = results
    np.testing.assert_allclose(y, channels_last(numbers[f"d/{case}/y"]), atol=3e-6, rtol=1e-5)
    np.testing.assert_allclose(gx, channels_last(numbers[f"d/{case}/gx"]), atol=3e-6, rtol=1e-5)
    want = kernel_order(want)
    np.testing.assert_allclose(gw, want, atol=1e-6 * np.abs(want).max(), rtol=1e-6)
    assert not gw[kernel_order(numbers[f"d/{case}/mask"]) == 0].any()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("bits", [(8, 16), (4, 8)])
def test_predicted_gradients(numbers, case, bits):
    configurations = [each for each in json.loads(str(numbers["d/cfg"])) if tuple(each["bits"][::2]) == bits]
    assert len(configurations) == 28
    for each in configurations:
        limit = each["threshold"]
        threshold = {"absolute_threshold": limit} if limit > 0 else {"relative_threshold": -limit}
        results = run(
            numbers,
            case,
            input_bits=bits[0],
            gradient_bits=bits[1],
            sparsify=each["sparsify"],
            take_sign=each["sign"],
            **threshold,
        )
        check(numbers, case, results, numbers[f"d/{case}/gw/{each['i']}"])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sign", [False, True])
def test_exact_gradients(numbers, case, sign):
    results = run(numbers, case, quantize=False, take_sign=sign)
    check(numbers, case, results, numbers[f"d/{case}/gw_no_backward_sign{int(sign)}"])
