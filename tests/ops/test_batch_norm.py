import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.ops import fused_batch_norm, normalize_with

EPSILON = 1e-3
SHAPES = [(6, 5, 4, 8), (6, 4, 4, 13), (6, 5, 3, 13), (2, 4, 4, 52), (16, 13), (7, 3), (4, 6, 5), (2, 2, 2, 2, 6)]


def reference(inputs, scale, offset):
    """Batch norm in double precision."""
    axes = tuple(range(inputs.ndim - 1))
    values = inputs.astype(np.float64)
    mean, variance = values.mean(axes), values.var(axes)
    return (values - mean) / np.sqrt(variance + EPSILON) * scale + offset, mean, variance


def draw(shape, seed=0):
    rng = np.random.default_rng(seed)
    inputs = (rng.normal(size=shape) * 2 + 3).astype(np.float32)
    return inputs, rng.normal(size=shape[-1]).astype(np.float32), rng.normal(size=shape[-1]).astype(np.float32)


def test_by_hand():
    batch = fused_batch_norm(tf.constant([[1.0], [3.0]]), tf.constant([2.0]), tf.constant([10.0]), epsilon=0.0)
    assert batch.output.numpy().ravel() == pytest.approx([8.0, 12.0])
    assert batch.mean.numpy() == pytest.approx([2.0])
    assert batch.variance.numpy() == pytest.approx([1.0])  # biased; the unbiased one is 2


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_double_precision(shape, graph):
    inputs, scale, offset = draw(shape)
    compute = tf.function(fused_batch_norm) if graph else fused_batch_norm
    batch = compute(tf.constant(inputs), tf.constant(scale), tf.constant(offset), epsilon=EPSILON)
    output, mean, variance = reference(inputs, scale, offset)
    assert batch.output.shape == shape
    np.testing.assert_allclose(batch.output, output, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(batch.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(batch.variance, variance, rtol=1e-5)


@pytest.mark.parametrize("channels", [8, 13, 12])
def test_unknown_batch_size(channels):
    """Wide rows are made only where the number of rows is known to divide."""

    @tf.function(input_signature=[tf.TensorSpec([None, 3, 3, channels])])
    def odd_image(inputs):
        return fused_batch_norm(inputs, tf.ones(channels), tf.zeros(channels), epsilon=EPSILON)

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 2, channels])])
    def even_image(inputs):
        return fused_batch_norm(inputs, tf.ones(channels), tf.zeros(channels), epsilon=EPSILON)

    for compute, shape in ((odd_image, (5, 3, 3, channels)), (even_image, (5, 4, 2, channels))):
        inputs = draw(shape)[0]
        np.testing.assert_allclose(
            compute(tf.constant(inputs)).output, reference(inputs, 1.0, 0.0)[0], rtol=1e-4, atol=2e-5
        )


@pytest.mark.parametrize("shape", [(6, 4, 4, 8), (6, 4, 4, 13)], ids=str)
def test_bfloat16_keeps_its_type_and_float32_moments(shape):
    inputs, scale, offset = draw(shape)
    rounded = tf.cast(inputs, tf.bfloat16)
    batch = fused_batch_norm(rounded, tf.constant(scale), tf.constant(offset), epsilon=EPSILON)
    output, mean, variance = reference(tf.cast(rounded, tf.float32).numpy(), scale, offset)
    assert (batch.output.dtype, batch.mean.dtype) == (tf.bfloat16, tf.float32)
    np.testing.assert_allclose(tf.cast(batch.output, tf.float32), output, rtol=0.01, atol=0.01)
    np.testing.assert_allclose(batch.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(batch.variance, variance, rtol=1e-4)


def derivatives(norm, inputs, scale, offset, weights):
    """First derivatives of a curved function of the output, and a Hessian-vector product."""
    variables = [inputs, scale, offset]
    with tf.GradientTape() as outer:
        outer.watch(variables)
        with tf.GradientTape() as inner:
            inner.watch(variables)
            value = tf.reduce_sum(weights * tf.sin(norm(inputs, scale, offset)))
        first = inner.gradient(value, variables)
        product = sum(tf.reduce_sum(g * tf.cos(tf.cast(v, g.dtype))) for g, v in zip(first, variables, strict=True))
    return first, outer.gradient(product, variables)


@pytest.mark.parametrize("shape", [(4, 3, 3, 8), (4, 4, 2, 13), (5, 3, 3, 13), (6, 5)], ids=str)
def test_first_and_second_derivatives(shape):
    inputs, scale, offset = draw(shape)
    weights = np.random.default_rng(1).normal(size=shape)

    def composite(x, gamma, beta):
        axes = list(range(len(shape) - 1))
        mean = tf.reduce_mean(x, axes)
        variance = tf.reduce_mean((x - mean) ** 2, axes)
        return (x - mean) / tf.sqrt(variance + EPSILON) * gamma + beta

    expected = derivatives(composite, *(tf.constant(v, tf.float64) for v in (inputs, scale, offset)), weights)
    received = derivatives(
        lambda *args: fused_batch_norm(*args, epsilon=EPSILON).output,
        *(tf.constant(v) for v in (inputs, scale, offset)),
        weights.astype(np.float32),
    )
    for order in (0, 1):
        for wanted, got in zip(expected[order], received[order], strict=True):
            scale_of_values = np.abs(wanted).max()
            np.testing.assert_allclose(got, wanted, rtol=0, atol=5e-6 * scale_of_values)


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 20),
    rows=st.integers(2, 9),
    mean=st.floats(-10, 10),
    spread=st.floats(0.5, 5),
    seed=st.integers(0, 99),
)
def test_output_is_normal_whatever_comes_in(channels, rows, mean, spread, seed):
    inputs = np.random.default_rng(seed).normal(mean, spread, size=(rows, 4, 2, channels)).astype(np.float32)
    output = fused_batch_norm(tf.constant(inputs), tf.ones(channels), tf.zeros(channels), epsilon=1e-6).output.numpy()
    np.testing.assert_allclose(output.mean((0, 1, 2)), 0.0, atol=1e-4)
    np.testing.assert_allclose(output.std((0, 1, 2)), 1.0, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_given_statistics(shape):
    inputs, scale, offset = draw(shape)
    rng = np.random.default_rng(2)
    mean, variance = rng.normal(size=shape[-1]).astype(np.float32), rng.uniform(0.5, 2, shape[-1]).astype(np.float32)
    output = normalize_with(*map(tf.constant, (inputs, mean, variance, scale, offset)), epsilon=EPSILON)
    expected = (inputs.astype(np.float64) - mean) / np.sqrt(variance + EPSILON) * scale + offset
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=2e-5)
