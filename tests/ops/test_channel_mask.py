import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfprune.ops import channel_mask, fused_batch_norm, gate, gated_affine, keep_limit, masked_kernel, rank_scores

MASKS = {"all": [1, 1, 1, 1], "some": [1, 0, 1, 1], "one": [0, 0, 1, 0]}


@pytest.mark.parametrize("name", ["rand16", "rand64", "ties16", "zeros8"])
def test_golden(golden, name):
    case = {key: golden[f"mask/{name}/{key}"] for key in ("score", "order", "rates", "masks")}
    order = rank_scores(case["score"])
    assert np.array_equal(order, case["order"])
    for rate, expected in zip(case["rates"], case["masks"], strict=True):
        assert np.array_equal(channel_mask(order, rate), expected)
        assert np.array_equal(order < keep_limit(len(order), rate), expected > 0)


@given(hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(0, 10, width=32)), st.floats(-0.5, 1, width=32))
def test_keeps_the_best_and_at_least_one(scores, rate):
    order = rank_scores(scores)
    assert sorted(order) == list(range(len(scores)))
    mask = np.asarray(channel_mask(order, np.float32(rate))) > 0
    assert mask.sum() == max(1, np.ceil(np.float32(len(scores)) * np.float32(rate)))
    if mask.any() and not mask.all():
        assert scores[mask].min() >= scores[~mask].max()


def test_nothing_ranked_keeps_everything():
    assert np.all(channel_mask(np.zeros(5, np.float32), np.float32(0.2)) == 1)


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


def test_by_hand():
    kernel = np.array([[3.0, 4.0], [0.0, 12.0]], np.float32)  # norm 13
    masked = masked_kernel(kernel, np.array([1.0, 0.0], np.float32), np.array([1.0, 0.0], np.float32))
    np.testing.assert_allclose(masked, [[13.0, 0.0], [0.0, 0.0]], rtol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_norm_is_kept_and_masked_channels_are_zero(seed):
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(3, 3, 5, 7)).astype(np.float32)
    in_mask, out_mask = ((rng.random(size) < 0.6).astype(np.float32) for size in (5, 7))
    in_mask[0] = out_mask[0] = 1
    masked = np.asarray(masked_kernel(kernel, in_mask, out_mask))
    np.testing.assert_allclose(np.linalg.norm(masked), np.linalg.norm(kernel), rtol=1e-5)
    assert np.all(masked[:, :, in_mask == 0] == 0)
    assert np.all(masked[..., out_mask == 0] == 0)
    kept = masked[:, :, in_mask > 0][..., out_mask > 0] / kernel[:, :, in_mask > 0][..., out_mask > 0]
    np.testing.assert_allclose(kept, kept.flat[0], rtol=1e-5)


def test_nothing_masked_changes_nothing_beyond_rounding():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype(np.float32)
    np.testing.assert_allclose(masked_kernel(kernel, np.ones(4, np.float32)), kernel, rtol=1e-6)


def test_everything_masked_is_zero_and_finite():
    kernel = np.ones((2, 3), np.float32)
    assert np.all(masked_kernel(kernel, np.zeros(2, np.float32)) == 0)
