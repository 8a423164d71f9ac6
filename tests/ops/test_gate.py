import numpy as np
import pytest
import tensorflow as tf

from tfprune.ops import fused_batch_norm, gate, gated_affine

MASKS = {"all": [1, 1, 1, 1], "some": [1, 0, 1, 1], "one": [0, 0, 1, 0]}


def upstream_and_values(seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(6, 5, 5, 4)).astype(np.float32) for _ in range(2))


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_score_is_the_absolute_first_order_term(mask):
    upstream, values = upstream_and_values()
    mask = np.array(mask, np.float32)
    inputs, score = tf.constant(values), tf.zeros(4)
    with tf.GradientTape() as tape:
        tape.watch([inputs, score])
        output = gate(inputs, tf.constant(mask), score)
        loss = tf.reduce_sum(output * upstream)
    d_inputs, d_score = tape.gradient(loss, [inputs, score])
    np.testing.assert_array_equal(output, values * mask)
    np.testing.assert_array_equal(d_inputs, upstream)  # straight-through: masked channels too
    expected = np.abs((upstream * values * mask).sum(axis=(0, 1, 2), dtype=np.float64))
    np.testing.assert_allclose(d_score, expected, rtol=1e-4, atol=1e-4)


def test_importances_of_a_shared_score_add_up_absolutely():
    score, mask = tf.zeros(1), tf.ones(1)
    first, second = tf.constant([[2.0]]), tf.constant([[-3.0]])
    with tf.GradientTape() as tape:
        tape.watch(score)
        loss = tf.reduce_sum(gate(first, mask, score) + gate(second, mask, score))
    assert float(tape.gradient(loss, score)[0]) == 5.0


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("jit", [False, True])
def test_gate_in_the_batch_norm_equals_a_gate_after_the_relu(mask, jit):
    rng = np.random.default_rng(1)
    upstream, values = upstream_and_values(2)
    scale, offset = (tf.constant(rng.normal(size=4).astype(np.float32)) for _ in range(2))
    mask = tf.constant(np.array(mask, np.float32))

    def inside(score):
        masked = gated_affine(scale, offset, mask, score)
        return tf.nn.relu(fused_batch_norm(tf.constant(values), *masked, epsilon=1e-5).output)

    def behind(score):
        output = fused_batch_norm(tf.constant(values), scale, offset, epsilon=1e-5).output
        return gate(tf.nn.relu(output), mask, score)

    @tf.function(jit_compile=jit)
    def both(score):
        results = []
        for network in (inside, behind):
            with tf.GradientTape() as tape:
                tape.watch(score)
                output = network(score)
                loss = tf.reduce_sum(tf.sin(output) * upstream)
            results.append((output, tape.gradient(loss, score)))
        return results

    (one, one_score), (other, other_score) = both(tf.zeros(4))
    np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(one_score, other_score, rtol=1e-4, atol=1e-5)
    assert np.all((np.asarray(one_score) > 0) == (np.asarray(mask) > 0))


def test_score_is_the_derivative_of_the_loss_in_the_mask():
    """Where the loss is smooth in the mask, its slope at 1 is the signed importance."""
    upstream, values = upstream_and_values(3)
    mask = tf.ones(4, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(mask)
        loss = tf.reduce_sum(tf.tanh(tf.constant(values, tf.float64) * mask) * upstream)
    slope = tape.gradient(loss, mask)
    score = tf.zeros(4)
    with tf.GradientTape() as tape:
        tape.watch(score)
        loss = tf.reduce_sum(tf.tanh(gate(tf.constant(values), tf.ones(4), score)) * upstream)
    np.testing.assert_allclose(tape.gradient(loss, score), np.abs(slope), rtol=1e-4)
