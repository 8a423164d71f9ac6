import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.errors import ConfigError
from tfprune.recipes.data import ImageData, load_data, search_subsets


def data_with(labels, classes):
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    labels = np.asarray(labels, np.int64)
    return ImageData("made up", classes, images, labels, images, labels, (0.0,), (1.0,), False, 0)


def golden_labels(golden):
    """Labels that give the golden positions, without reading the images: the shuffled blocks tell each class."""
    for seed_order, block in ((golden["val_index"], 32), (golden["train_sub_index"], 256)):
        order = np.arange(len(seed_order))
        np.random.RandomState(1).shuffle(order)
        yield seed_order, order // block


def test_golden_positions_from_labels_alone(golden):
    data = data_with(np.zeros(50_000), 10)
    data.train_labels[:] = -1  # of no class
    for positions, classes in golden_labels(golden):
        data.train_labels[positions] = classes
    subsets = search_subsets(data)
    np.testing.assert_array_equal(subsets.validation, golden["val_index"])
    np.testing.assert_array_equal(subsets.training, golden["train_sub_index"])


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(1, 4), st.integers(1, 30), st.integers(0, 9))
def test_balanced_disjoint_and_at_the_ends(labels, validation, training, seed):
    counts = np.bincount(labels, minlength=3)
    data = data_with(labels, 3)
    if counts.min() <= validation:
        with pytest.raises(ConfigError, match=f"expected more than {validation} training images in every class"):
            search_subsets(data, validation_per_class=validation, training_per_class=training, seed=seed)
        return
    subsets = search_subsets(data, validation_per_class=validation, training_per_class=training, seed=seed)
    assert not set(subsets.validation) & set(subsets.training)
    assert subsets.validation.dtype == subsets.training.dtype == np.int64
    for label in range(3):
        where = np.flatnonzero(data.train_labels == label)
        assert {i for i in subsets.validation if data.train_labels[i] == label} == set(where[-validation:])
        kept = min(training, len(where) - validation)
        assert {i for i in subsets.training if data.train_labels[i] == label} == set(where[:kept])


def test_seed_changes_the_order_only():
    data = load_data("digits")
    one, other = search_subsets(data, seed=1), search_subsets(data, seed=2)
    assert len(one.validation) == 320
    assert len(one.training) == 1437 - 320
    for a, b in ((one.validation, other.validation), (one.training, other.training)):
        assert not np.array_equal(a, b)
        np.testing.assert_array_equal(np.sort(a), np.sort(b))


@pytest.mark.parametrize("number", [0, -1])
def test_numbers_must_be_positive(number):
    with pytest.raises(ConfigError, match="validation_per_class: expected a whole number from 1 to"):
        search_subsets(load_data("digits"), validation_per_class=number)
