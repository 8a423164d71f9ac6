from itertools import repeat

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.batches.source import ROWS, Source
from tfprune.errors import ConfigError

X, Y = np.arange(300.0).reshape(100, 3), np.arange(100)


class Halves(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return X[50 * index : 50 * index + 50], Y[50 * index : 50 * index + 50]


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, index):
        return X, Y


class Loader:
    """Like a `DataLoader` of PyTorch: lists of arrays that NumPy can read."""

    def __iter__(self):
        return iter([[X[:50], Y[:50]], [X[50:], Y[50:]]])


def dataset():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(50)


FORMS = {
    "arrays": ((X, Y), True),
    "tensors": ((tf.constant(X), tf.constant(Y)), True),
    "weights": ((X, Y, np.ones(100)), True),
    "inputs": (X, False),
    "inputs in a tuple": ((X,), False),
    "no labels": ((X, None), False),
    "our own": ({"images": X, "labels": Y}, True),
    "dataset": (dataset(), True),
    "dataset of inputs": (dataset().map(lambda x, y: x), False),
    "dataset of our own": (dataset().map(lambda x, y: {"images": x, "labels": y, "positions": y}), True),
    "PyDataset": (Halves(), True),
    "list": ([(X[:30], Y[:30]), [X[30:], Y[30:]]], True),
    "list of inputs": ([X[:30], X[30:]], False),
    "loader": (Loader(), True),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_has_all_examples(form):
    data, labels = FORMS[form]
    for _ in range(2):
        batches = list(Source(data).batches())
        np.testing.assert_array_equal(np.concatenate([np.asarray(batch.x) for batch in batches]), X)
        assert [len(batch.x) for batch in batches] == [batch.rows for batch in batches]
        assert {batch.weighted for batch in batches} == {form == "weights"}
        if labels:
            np.testing.assert_array_equal(np.concatenate([np.asarray(batch.y) for batch in batches]), Y)
        else:
            assert all(batch.y is None for batch in batches)


@pytest.mark.parametrize("size", [None, 30, 100, 1000])
def test_places_are_those_in_the_whole_arrays(size):
    for batch in Source((X, Y)).batches(size=size):
        assert batch.rows <= (size or ROWS)
        for row in range(batch.rows):
            assert batch.place((row, 1)) == f"at [{batch.y[row]}, 1]"


def test_places_in_batches_name_the_batch():
    first, second = Source(dataset()).batches()
    assert [first.place((3,)), second.place((0, 2))] == ["at [3] of batch 1", "at [0, 2] of batch 2"]


def test_a_list_of_as_many_arrays_as_inputs_is_one_example_after_the_other():
    (batch, _) = Source([X, Y], inputs=["a", "b"]).batches()
    assert [len(each) for each in batch.x] == [ROWS, ROWS]
    assert batch.y is None
    mapping = {"images": X, "labels": Y}
    (batch, _) = Source(mapping, inputs=["images", "labels"]).batches()
    assert set(batch.x) == {"images", "labels"}


ENDLESS = [dataset().repeat(), Endless(), repeat((X, Y)), ((X, Y) for _ in repeat(0))]


@pytest.mark.parametrize("data", ENDLESS, ids=["dataset", "PyDataset", "iterator", "generator"])
def test_endless_data_are_refused_unless_the_caller_stops(data):
    with pytest.raises(ConfigError, match=r"^reweight: .*(repeats for ever|may be endless)"):
        next(Source(data, "reweight").batches())
    assert next(Source(data).batches(bounded=True)).rows in (50, 100)


def test_iterators_may_be_read_once():
    assert [batch.rows for batch in Source(iter([(X, Y)] * 3)).batches(once=True)] == [100] * 3
    with pytest.raises(ConfigError, match="repeats for ever"):
        next(Source(dataset().repeat()).batches(once=True))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "received NoneType"),
        (3, "received int"),
        ("cifar10", "received str"),
        (np.ndarray, "received type"),
        (print, "received builtin_function_or_method"),
        ([], "at least one batch, received none"),
        ((X[:0], Y[:0]), "at least one batch, received none"),
        ((), "received a tuple of 0"),
        ((X, Y, Y, Y), "received a tuple of 4"),
        ([(X, Y), (X[:0], Y[:0])], "received none in batch 2"),
        ((X, Y[:5]), r"received arrays of \[5, 100\] rows"),
        ([(X, Y), (X, Y[:5])], r"received batches of \[5, 100\] rows"),
        (([X, X[:7]], Y), r"received arrays of \[7, 100\] rows"),
        (([[1.0, 2.0]], [0]), "received float in place of an array"),
        ([(X, Y), "b"], "received str; map them"),
        ((None, None), "received no array"),
        (np.float32(3), "received single examples"),
        (tf.data.Dataset.from_tensor_slices(Y), "received single examples"),
        (tf.ragged.constant([[1], [2, 3]]), "dense array, received RaggedTensor"),
        ((tf.sparse.from_dense(X), Y), "dense array, received SparseTensor"),
    ],
)
def test_other_data_are_refused_in_one_line(data, said):
    with pytest.raises(ConfigError, match=f"^data: .*{said}") as raised:
        list(Source(data).batches())
    assert "\n" not in str(raised.value)
