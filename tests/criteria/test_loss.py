import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.criteria.loss import data_loss
from tfprune.errors import ConfigError

layers = keras.layers
LOGITS = tf.constant([[1.0, 2, 0.5], [0, -1, 3]])
LABELS = tf.constant([1, 0])
EXPECTED = float(tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, LOGITS)))


def model_ending_in(*tail, units=3):
    return keras.Sequential([keras.Input((4,)), layers.Dense(units), *tail])


def test_logits_and_class_numbers():
    loss = data_loss(model_ending_in(), None, LABELS)
    assert np.isclose(loss(LABELS, LOGITS), EXPECTED)
    assert np.isclose(data_loss(model_ending_in(), None, LABELS[:, None])(LABELS[:, None], LOGITS), EXPECTED)


@pytest.mark.parametrize(
    "tail",
    [
        [layers.Softmax()],
        [layers.Activation("softmax")],
        [layers.Dense(3, activation="softmax")],
        [layers.Softmax(), layers.Activation("linear", dtype="float32")],
    ],
)
def test_probabilities_are_told_from_logits(tail):
    loss = data_loss(model_ending_in(*tail), None, LABELS)
    assert np.isclose(loss(LABELS, tf.nn.softmax(LOGITS)), EXPECTED)


def test_labels_that_are_probabilities():
    labels = tf.one_hot(LABELS, 3)
    assert np.isclose(data_loss(model_ending_in(), None, labels)(labels, LOGITS), EXPECTED)
    labels = tf.one_hot(LABELS, 3, dtype=tf.int64)
    assert np.isclose(data_loss(model_ending_in(), None, labels)(labels, LOGITS), EXPECTED)


def test_what_is_given_goes_before_what_is_compiled():
    model = model_ending_in()
    model.compile(loss="mse")
    values = tf.zeros([2, 3])
    assert np.isclose(data_loss(model, None, values)(values, LOGITS), np.mean(np.square(LOGITS)))
    assert np.isclose(data_loss(model, "mae", values)(values, LOGITS), np.mean(np.abs(LOGITS)))
    assert np.isclose(data_loss(model, lambda y, p: p[:, 0], values)(values, LOGITS), 0.5)


def test_a_function_in_double_precision():
    weight = 0.25  # a copy by way of a file would not find it
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    y, outputs = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.1, 0.2], [0.3, 0.4]])
    loss = data_loss(model, lambda y, found: weight * abs(y - found), tf.constant(y), dtype="float64")
    found = loss(tf.constant(y), tf.constant(outputs))
    assert found.dtype == tf.float64
    assert float(found) == pytest.approx(weight * np.abs(y - outputs).mean(), rel=1e-15)


def test_a_compiled_model_of_two_outputs_is_left_as_it_was():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [layers.Dense(1, name="a")(inputs), layers.Dense(1, name="b")(inputs)])
    model.compile(loss={"a": "mse", "b": "mae"}, loss_weights={"a": 2.0, "b": 10.0})
    y = [tf.zeros([2, 1]), tf.zeros([2, 1])]
    outputs = [tf.constant([[1.0], [3]]), tf.constant([[-1.0], [2]])]
    loss = data_loss(model, None, y)
    assert np.isclose(tf.function(loss)(y, outputs), 2 * 5 + 10 * 1.5)
    assert not model._compile_loss.built


@pytest.mark.parametrize(
    ("model", "labels", "said"),
    [
        (model_ending_in(units=1), tf.constant([0, 1]), "ends in linear of 1"),
        (model_ending_in(layers.Activation("sigmoid")), LABELS, "ends in sigmoid of 3"),
        (model_ending_in(), tf.constant([[0.2, 0.2, 0.2]]), "class numbers or probabilities of 3"),
        (model_ending_in(), tf.constant([[-1.0, 1, 1]]), "class numbers or probabilities of 3"),
        (model_ending_in(), tf.constant([0.5, 1.5]), r"received shape \(2,\) \(float32\)"),
        (model_ending_in(), [LABELS, LABELS], "several outputs or labels"),
    ],
)
def test_without_a_loss_only_classifiers_are_understood(model, labels, said):
    with pytest.raises(ConfigError, match=said):
        data_loss(model, None, labels)
