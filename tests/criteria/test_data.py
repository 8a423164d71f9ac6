import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.criteria import CriterionData, examples_at_once
from tfprune.errors import ConfigError

X, Y = np.arange(300.0).reshape(100, 3), np.arange(100)


def sizes(data, limit=None):
    return [len(y) for _, y in CriterionData(data).batches(limit)]


def dataset(batch=30):
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(batch)


def test_arrays_are_cut_into_batches_of_64():
    (first, second) = CriterionData((X, Y)).batches()
    np.testing.assert_array_equal(tf.concat([first[0], second[0]], 0), X)
    np.testing.assert_array_equal(second[1], np.arange(64, 100))


@pytest.mark.parametrize("source", [(X, Y), [(X, Y)]])
def test_parts_of_sorted_examples_have_all_of_them(source):
    batches = list(CriterionData(source).batches(size=30))
    assert [y.numpy().tolist() for _, y in batches] == [list(range(first, 100, 4)) for first in range(4)]
    for x, y in batches:
        np.testing.assert_array_equal(x, X[y])


def test_batches_that_are_small_enough_are_not_cut():
    data = CriterionData([(X[:30], Y[:30]), (X[:31], Y[:31])])
    assert [len(y) for _, y in data.batches(size=30)] == [30, 16, 15]
    assert [len(y) for _, y in data.batches(2, size=30)] == [30, 16]


def test_structures_of_arrays_keep_their_form():
    data = CriterionData(({"a": X, "b": X[:, :1]}, [Y, Y]))
    x, y = next(data.batches())
    assert {name: value.shape.as_list() for name, value in x.items()} == {"a": [64, 3], "b": [64, 1]}
    assert [value.shape.as_list() for value in y] == [[64], [64]]


def test_datasets_and_lists_of_batches_go_as_they_are():
    assert sizes(dataset()) == [30, 30, 30, 10]
    assert sizes([(X[:7], Y[:7]), [X[:3], Y[:3]]]) == [7, 3]


def test_our_own_batches_are_understood():
    (batch,) = CriterionData([{"images": X, "labels": Y, "knowledge": X}]).batches()
    np.testing.assert_array_equal(batch[0], X)
    np.testing.assert_array_equal(batch[1], Y)


class Halves(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return X[50 * index : 50 * index + 50], Y[50 * index : 50 * index + 50]


def test_kerass_own_data_sets_end():
    assert sizes(Halves()) == [50, 50]


def test_the_limit_stops_in_time():
    assert sizes(dataset().repeat(), limit=5) == [30, 30, 30, 10, 30]
    assert sizes((X, Y), limit=1) == [64]
    assert sizes(dataset(), limit=9) == [30, 30, 30, 10]


def test_data_can_be_gone_through_again():
    data = CriterionData.required(dataset(), "taylor")
    assert CriterionData.required(data, "taylor") is data
    assert len(list(data.batches())) == len(list(data.batches())) == 4


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (X, "received inputs without labels"),
        ("cifar10", "received str"),
        (7, "received int"),
        (iter([(X, Y)]), "received list_iterator"),
        ({"x": X}, "received inputs without labels"),
        ((X, Y, Y), "tuple of 3"),
        ((X, Y[:5]), r"arrays of \[5, 100\] rows"),
        ([(X, Y[:5])], r"batches of \[5, 100\] rows"),
        ([(X, Y, Y)], "a tuple of 3; leave them out"),
        ([(X, Y, Y, Y)], "a tuple of 4; map them"),
        ([{"x": X}], "received inputs without labels"),
        ([{"x": 1}], "received int in place of an array"),
        ([], "at least one batch"),
        ((X[:0], Y[:0]), "at least one batch"),
        (dataset().repeat(), "for ever; use .take"),
        (tf.data.Dataset.from_tensor_slices((X, Y)), "single examples"),
    ],
)
def test_other_data_is_refused(source, said):
    with pytest.raises(ConfigError, match=said):
        list(CriterionData(source).batches())


@pytest.mark.parametrize("source", [(X, None), [(X, None)], [{"images": X, "labels": None}]])
def test_inputs_need_no_labels(source):
    data = CriterionData(source)
    np.testing.assert_array_equal(tf.concat(list(data.inputs()), 0), X)
    assert len(next(data.inputs(1))) in (64, 100)
    with pytest.raises(ConfigError, match="inputs without labels; give a tuple"):
        next(data.batches())


def test_data_that_is_missing_is_asked_for():
    with pytest.raises(ConfigError, match=r"criterion taylor looks at data: .* give data="):
        CriterionData.required(None, "taylor")


def test_the_limit_is_checked():
    with pytest.raises(ConfigError, match=r"batches: expected a whole number from 1 to .*, received 0"):
        sizes(dataset(), limit=0)


def test_models_with_more_values_are_computed_with_fewer_examples():
    def model(size):
        layers = [keras.Input((size, size, 3)), keras.layers.Conv2D(5, 3, strides=2, padding="same")]
        return keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])

    assert examples_at_once(model(1000)) == 300_000_000 // (3 * 1000**2 + 5 * 500**2 + 5 + 2)
    assert examples_at_once(model(100_000)) == 1
    assert examples_at_once(model(None)) == 300_000_000 // (3 + 5 + 5 + 2)
