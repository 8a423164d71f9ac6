import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.optimizers import Bop
from tfprune.optimizers.flip_rules import flips

RNG = np.random.default_rng(0)
START = RNG.normal(size=(6, 7)).astype(np.float32)
GRADIENTS = RNG.normal(size=(8, 6, 7)).astype(np.float32)
NUMBERS = st.floats(-4, 4, width=32, allow_subnormal=False)  # TensorFlow reads subnormal numbers as 0


def train(**options):
    weight = keras.Variable(START, name="kernel")
    bop = Bop(sign_trained=["kernel"], **options)
    for gradient in GRADIENTS:
        bop.apply([tf.constant(gradient)], [weight])
    return weight.numpy(), bop


def by_the_paper(start, rate, threshold):
    """Algorithm 1, word for word, on float64."""
    weight, average, count = start.astype(float), np.zeros(start.shape), 0
    for gradient in GRADIENTS.astype(float):
        average = (1 - rate) * average + rate * gradient
        for place in np.ndindex(*start.shape):
            if abs(average[place]) > threshold and np.sign(average[place]) == np.sign(weight[place]):
                weight[place] = -weight[place]
                count += 1
    return weight, count


def by_larq(start, rate, threshold):
    """`sign(-sign(w * m - t) * w)` with larq's sign, which is +1 at 0."""
    weight, average = start.astype(float), np.zeros(start.shape)
    for gradient in GRADIENTS.astype(float):
        average += rate * (gradient - average)
        weight = np.where(-np.sign(weight * average - threshold) * weight >= 0, 1.0, -1.0)
    return weight


def test_the_rule_of_the_paper():
    weight, bop = train(adaptivity_rate=0.3, threshold=0.1, variant="paper")
    expected, count = by_the_paper(START, 0.3, 0.1)
    np.testing.assert_array_equal(weight, expected.astype(np.float32))
    assert int(bop.total_flips) == count > 10


def test_the_rule_of_larq():
    weight, _ = train(adaptivity_rate=0.3, threshold=0.1, variant="larq", keep_magnitudes=False)
    np.testing.assert_array_equal(weight, by_larq(START, 0.3, 0.1))


def test_larq_keeps_magnitudes_unless_asked():
    weight, bop = train(adaptivity_rate=0.3, threshold=0.1, variant="larq")
    np.testing.assert_array_equal(np.abs(weight), np.abs(START))
    assert 10 < int(bop.total_flips) != by_the_paper(START, 0.3, 0.1)[1]  # the threshold weighs magnitudes


def test_larq_on_signs_is_the_paper():
    """Weights of magnitude 1: the two rules are the same but for rounding."""
    ours = {}
    for variant in ("larq", "paper"):
        weight = keras.Variable(np.sign(START), name="kernel")
        bop = Bop(0.3, 0.1, sign_trained=["kernel"], variant=variant)
        for gradient in GRADIENTS:
            bop.apply([tf.constant(gradient)], [weight])
        ours[variant] = weight.numpy()
    np.testing.assert_array_equal(ours["larq"], ours["paper"])


def test_weights_of_one_magnitude():
    weight, _ = train(adaptivity_rate=0.3, threshold=0.1, keep_magnitudes=False)
    kept, _ = train(adaptivity_rate=0.3, threshold=0.1)
    np.testing.assert_array_equal(weight, np.sign(kept))


def test_starts():
    """One step from the same gradient: what the average is, and the strictness of the threshold."""
    gradient, weight = tf.constant([0.5]), [2.0]
    for variant, average, flipped in (("peekaboo", 0.75, True), ("paper", 0.25, False), ("larq", 0.25, True)):
        variable = keras.Variable(weight, name="kernel")
        bop = Bop(0.5, 0.25, sign_trained=["kernel"], variant=variant)
        bop.apply([gradient], [variable])
        assert float(bop.averages[0][0]) == average
        assert float(variable[0]) == (-2.0 if flipped else 2.0), variant  # larq: 2 * 0.25 > 0.25
    at_threshold = keras.Variable(weight, name="kernel")
    Bop(0.5, 0.75, sign_trained=["kernel"]).apply([gradient], [at_threshold])
    assert float(at_threshold[0]) == -2.0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20), st.sampled_from([0.0, 1e-3, 0.5, 1.0]))
def test_the_rule_of_peekaboo_is_its_formula(pairs, threshold):
    weight, average = (np.array(column, np.float32) for column in zip(*pairs, strict=True))
    expected = (np.abs(average) >= np.float32(threshold)) & (np.sign(average) == np.sign(weight))
    got = flips("peekaboo", tf.constant(weight), tf.constant(average), threshold)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("threshold", [0.0, 1e-60])
def test_a_threshold_that_is_zero_in_the_type_of_the_weights(threshold):
    weight, average = tf.constant([1.0, -1.0, 0.0, 1.0]), tf.constant([0.0, 0.0, 0.0, 2.0])
    assert flips("peekaboo", weight, average, threshold).numpy().tolist() == [False, False, True, True]
