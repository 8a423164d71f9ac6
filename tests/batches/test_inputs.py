import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.batches.inputs import InputCheck, input_batches
from tfprune.errors import ConfigError

layers = keras.layers
FORMATS = ["bool", "uint8", "int32", "int64", "uint32", "float16", "float32", "float64", "complex64", "object", "U"]


def identity(shape, dtype="float32"):
    """A model that returns what it is given."""
    inputs = keras.Input(shape, dtype=dtype, name="image")
    return eager(keras.Model(inputs, layers.Identity()(inputs)))


def eager(model):
    model.compile(run_eagerly=True)  # or Keras would trace for each shape
    return model


def keras_takes(model, x):
    """What Keras' own `predict` returns; None if it refuses, or returns another shape than the model's.

    It does not look at the last axis where the model has an axis of size 1, and leaves it to the layers to fail.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = model.predict(x, verbose=0)
        except Exception:
            return None
    fits = len(found.shape) == len(model.output_shape) and all(
        size in (None, given) for size, given in zip(model.output_shape, found.shape, strict=True)
    )
    return found if fits else None


def ours(model, x):
    try:
        return InputCheck(model)(x)
    except ConfigError as error:
        return None if "\n" not in str(error) and str(error).startswith("data: ") else error


def changed(draw, shape):
    """A shape of examples that is that of the model, or nearly."""
    sizes = [draw(st.integers(1, 3)) if size is None else size for size in shape]
    kind = draw(st.sampled_from(["same", "last missing", "one more", "two more", "other size", "first missing"]))
    if kind == "last missing":
        return sizes[:-1]
    if kind == "first missing":
        return sizes[1:]
    if kind in ("one more", "two more"):
        return [*sizes, 1 if kind == "one more" else 2]
    if kind == "other size" and sizes:
        sizes[draw(st.integers(0, len(sizes) - 1))] += 1
    return sizes


@st.composite
def models_and_arrays(draw):
    shape = draw(st.lists(st.sampled_from([None, 1, 2, 3]), max_size=3))
    model = identity(tuple(shape), draw(st.sampled_from(["float32", "int32", "float16"])))
    kind = draw(st.sampled_from(FORMATS))
    array = np.arange(1, 200)[: 2 * int(np.prod(sizes := changed(draw, shape)))]
    return model, np.resize(array, (2, *sizes)).astype(kind)


@settings(max_examples=150, deadline=None)
@given(models_and_arrays())
def test_what_keras_predicts_on_is_taken_with_the_same_result(drawn):
    model, x = drawn
    expected, found = keras_takes(model, x), ours(model, x)
    if expected is None or x.dtype.kind == "c":  # Keras drops the imaginary part without a word
        assert found is None
    else:
        assert found is not None
        np.testing.assert_array_equal(np.asarray(model(found)), expected)


def two(structure):
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    made = {"list": [a, b], "sorted": {"a": a, "b": b}, "unsorted": {"b": b, "a": a}}[structure]
    return eager(keras.Model(made, layers.Concatenate()([a, b])))


A, B = np.arange(8.0).reshape(4, 2), np.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize("structure", ["list", "sorted", "unsorted"])
@pytest.mark.parametrize(
    "x",
    [
        [A, B],
        (A, B),
        {"a": A, "b": B},
        {"b": B, "a": A},
        [B, A],
        [A],
        A,
        {"a": A},
        {"x": A, "y": B},
        [A, None],
        [A, B, B],
    ],
    ids=["list", "tuple", "dict", "other order", "swapped", "one", "bare", "lacking", "names", "none", "three"],
)
def test_several_inputs_are_taken_as_keras_takes_them(structure, x):
    model = two(structure)
    expected, found = keras_takes(model, x), ours(model, x)
    assert (expected is None) == (found is None)
    if expected is not None:
        np.testing.assert_array_equal(np.asarray(model(found)), expected)


def test_messages_name_the_input_what_it_takes_and_what_came():
    model = identity((8, None, 1))
    with pytest.raises(ConfigError) as raised:
        InputCheck(model, "reweight")(np.zeros((5, 7, 8, 1)))
    assert str(raised.value) == (
        "reweight: the input image: expected arrays of shape [examples, 8, any, 1], received [5, 7, 8, 1]; give "
        "batches of examples as the model takes them"
    )
    with pytest.raises(ConfigError, match=r"such as dataset\.batch"):
        InputCheck(identity((8, 8, 3)))(np.zeros((8, 8, 3)))
    with pytest.raises(ConfigError, match=r"expected 2 inputs \(a, b\), received a; add b; labels belong into a tuple"):
        InputCheck(two("list"))({"a": A})


def test_words_that_an_embedding_lacks():
    inputs = keras.Input((3,), dtype="int32", name="words")
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Embedding(5, 2)(inputs))))
    InputCheck(model)(np.array([[0, 4, 4]]))
    for word in (5, -1):
        with pytest.raises(
            ConfigError, match=rf"input words, .* whole numbers from 0 to 4, .* 1 others, .* 2\]: {word}"
        ):
            InputCheck(model)(np.array([[0, 1, word]]))


def test_texts_are_left_to_models_that_take_them():
    inputs = keras.Input((1,), dtype="string", name="text")
    model = keras.Model(inputs, layers.StringLookup(vocabulary=["a", "b"])(inputs))
    np.testing.assert_array_equal(model(InputCheck(model)(np.array([["a"], ["b"]]))), [[1], [2]])


def test_of_a_model_without_a_graph_only_numbers_are_checked():
    class Own(keras.Model):
        def call(self, x):
            return x

    assert InputCheck(Own())({"any": A})["any"].shape == (4, 2)
    with pytest.raises(ConfigError, match="data: inputs: expected finite numbers"):
        InputCheck(Own())(A * np.nan)


def test_a_bad_batch_that_comes_late_is_named():
    def batches():
        yield from [(np.ones((2, 8)), None)] * 3
        bad = np.ones((2, 8))
        bad[1, 5] = np.nan
        yield bad, None

    data = tf.data.Dataset.from_generator(
        lambda: (x for x, _ in batches()), output_signature=tf.TensorSpec([None, 8], tf.float64)
    )
    read = input_batches(identity((8,)), data, "recalibrate")
    assert [next(read).shape.as_list() for _ in range(3)] == [[2, 8]] * 3
    with pytest.raises(ConfigError, match=r"recalibrate: the input image: .* the first at \[1, 5\] of batch 4: nan"):
        next(read)


def test_numbers_that_the_model_cannot_hold_are_refused():
    x = np.full((2, 3), 1e39)
    with pytest.raises(ConfigError, match=r"6 of 6 that are NaN or infinite \(or beyond float32\)"):
        InputCheck(identity((3,)))(x)
    InputCheck(identity((3,), "float64"))(x)
