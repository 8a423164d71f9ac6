from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests import messages
from tfprune.batches.labels import LabelCheck, class_numbers
from tfprune.errors import ConfigError

message = partial(messages.message, kind=ConfigError)

layers = keras.layers
N, CLASSES = 4, 3
NUMBERS = np.array([0, 2, 1, 0])
OUTPUTS = np.linspace(-1, 2, N * CLASSES, dtype=np.float32).reshape(N, CLASSES)
ONE_HOT = np.eye(CLASSES)[NUMBERS]
SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def model(*sizes, units=CLASSES):
    return keras.Sequential([keras.Input((*sizes, 2)), layers.Dense(units)])


@pytest.mark.parametrize(
    "loss", [SPARSE, "sparse_categorical_crossentropy", keras.losses.sparse_categorical_crossentropy]
)
@pytest.mark.parametrize(
    "y", [NUMBERS, NUMBERS[:, None], NUMBERS.astype("uint8"), NUMBERS.astype("float64"), NUMBERS > 0]
)
def test_class_numbers_in_each_form_that_keras_takes(loss, y):
    np.testing.assert_array_equal(LabelCheck(model(), loss)(y), y)


@pytest.mark.parametrize("bad", [CLASSES, -1, 0.5, 2**40, np.nan, -np.inf])
def test_what_is_no_class_is_named(bad):
    y = NUMBERS.astype("float64")
    y[2] = bad
    said = message(lambda: LabelCheck(model(), SPARSE)(y))
    assert said.startswith("data: labels: expected ")
    assert f" the first at [2]: {bad}" in said


def test_labels_of_positions():
    y = np.zeros((N, 5, 6), np.int64)
    check = LabelCheck(model(5, None), SPARSE)
    check(y)
    check(y[..., None])
    y[1, 2, 3] = 7
    assert "from 0 to 2, received 1 others, the first at [1, 2, 3]: 7" in message(lambda: check(y))
    assert "class numbers of shape [examples, 5, any]" in message(lambda: check(np.zeros((N, 4, 6), int)))
    assert "class numbers of shape [examples, 5, any]" in message(lambda: check(np.zeros((N, 5), int)))


def test_an_ignored_class_may_be_anything():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    y = np.array([0, 255, 1, 2])
    assert np.isfinite(loss(y, OUTPUTS))
    np.testing.assert_array_equal(LabelCheck(model(), loss)(y), y)
    assert "the first at [3]: 254" in message(lambda: LabelCheck(model(), loss)(np.array([0, 255, 1, 254])))


@pytest.mark.parametrize(
    "loss", ["categorical_crossentropy", "mse", keras.losses.Huber(), "kl_divergence", "cosine_similarity"]
)
def test_labels_like_the_outputs(loss):
    LabelCheck(model(), loss)(ONE_HOT)
    assert "labels of shape [examples, 3] for the loss" in message(lambda: LabelCheck(model(), loss)(NUMBERS))


def test_regressions_take_what_keras_takes():
    for y in (NUMBERS, NUMBERS[:, None], NUMBERS / 7):
        LabelCheck(model(units=1), "mse")(y)
        assert np.isfinite(keras.losses.MeanSquaredError()(y, OUTPUTS[:, :1]))
    assert "finite" in message(lambda: LabelCheck(model(units=1), "mse")(np.full(N, np.inf)))


def test_a_loss_of_the_user_takes_any_finite_numbers():
    class Own(keras.losses.Loss):
        def call(self, y, outputs):
            return keras.ops.sum(outputs, -1)

    for loss in (lambda y, outputs: outputs, Own()):
        LabelCheck(model(), loss)(np.full((N, 7, 2), -5))
        assert "finite" in message(lambda own=loss: LabelCheck(model(), own)(np.full(N, np.nan)))
        assert "real numbers" in message(lambda own=loss: LabelCheck(model(), own)(np.array(["a"] * N)))


def test_without_a_loss_cross_entropy_is_meant():
    check = LabelCheck(model(), None)
    check(NUMBERS)
    check(ONE_HOT)
    assert "from 0 to 2" in message(lambda: check(NUMBERS + 1))


def test_the_loss_that_a_model_is_compiled_with():
    compiled = model()
    compiled.compile(loss="mse")
    LabelCheck(compiled, None)(ONE_HOT * 100)
    assert "the loss mean_squared_error" in message(lambda: LabelCheck(compiled, None)(NUMBERS))
    assert "from 0 to 2" in message(lambda: LabelCheck(compiled, SPARSE)(NUMBERS + 1))


@pytest.mark.parametrize("loss", [{"a": SPARSE, "b": "mse"}, [SPARSE, "mse"]], ids=["dict", "list"])
def test_each_output_has_its_loss(loss):
    inputs = keras.Input((2,))
    both = keras.Model(inputs, [layers.Dense(CLASSES, name="a")(inputs), layers.Dense(2, name="b")(inputs)])
    other = np.zeros((N, 2))
    check = LabelCheck(both, loss)
    for y in ([NUMBERS, other], {"a": NUMBERS, "b": other}, {"b": other, "a": NUMBERS}, {"a": NUMBERS, "b": None}):
        keras.tree.map_structure(np.testing.assert_array_equal, check(y), y)
    assert "from 0 to 2" in message(lambda: check([NUMBERS + 5, other]))
    assert "the loss mean_squared_error" in message(lambda: check({"a": NUMBERS, "b": NUMBERS}))


@settings(max_examples=100, deadline=None)
@given(
    arrays.arrays(
        st.sampled_from([np.int64, np.float32]),
        st.sampled_from([(N,), (N, 1), (N, 2), (1, N), (N, 1, 1)]),
        elements=st.integers(-1, 3),
    )
)
def test_cross_entropy_of_what_is_taken_is_finite_and_nothing_else_is(y):
    """Of other class numbers TensorFlow raises an error on processors, and returns NaN on graphics cards."""
    try:
        expected = float(SPARSE(tf.constant(y), tf.constant(OUTPUTS)))
    except (ValueError, tf.errors.InvalidArgumentError):
        expected = np.nan
    try:
        found = class_numbers(y, (None, CLASSES))
    except ConfigError:
        assert not np.isfinite(expected)
    else:
        picked = np.take_along_axis(OUTPUTS.astype(np.float64), found[:, None], 1)[:, 0]
        losses = np.log(np.exp(OUTPUTS.astype(np.float64)).sum(1)) - picked
        assert expected == pytest.approx(losses.mean(), rel=1e-5)
