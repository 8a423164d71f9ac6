import dataclasses

import numpy as np
import pytest

from tfprune.data import load_data, prune_set
from tfprune.data.prune_positions import prune_positions
from tfprune.errors import ConfigError


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_images_and_labels_belong_together_and_depend_on_the_seed(digits):
    still = dataclasses.replace(digits, crop_padding=0)
    images, labels = prune_set(still, 40, seed=3)
    assert images.shape == (40, 8, 8, 1)
    assert images.dtype == np.float32
    pairs = zip(digits.normalize(digits.train_images), digits.train_labels, strict=True)
    known = {image.tobytes(): label for image, label in pairs}
    assert len({image.tobytes() for image in images}) == 40
    assert [known[image.tobytes()] for image in images] == labels.tolist()
    np.testing.assert_array_equal(prune_set(still, 40, seed=3)[0], images)
    assert not np.array_equal(prune_set(still, 40, seed=4)[0], images)
    np.testing.assert_array_equal(still.prune_images(40, seed=3)[0], images)


def test_images_are_augmented(digits):
    moved = prune_set(digits, 40, seed=3)[0]
    still = prune_set(dataclasses.replace(digits, crop_padding=0), 40, seed=3)[0]
    assert 20 < sum(not np.array_equal(*pair) for pair in zip(moved, still, strict=True)) < 40  # 8 of 9 offsets move


@pytest.mark.parametrize("count", [7, 30, 34])
def test_balanced_takes_as_many_of_each_class(digits, count):
    labels = prune_set(digits, count, balanced=True, seed=0)[1]
    counts = np.bincount(labels, minlength=10)
    assert counts.sum() == count
    assert counts.max() - counts.min() <= 1


def test_labels_are_looked_up_no_further_than_needed():
    asked = []

    def labels(positions):
        asked.extend(positions)
        return positions % 4

    chosen = prune_positions(100_000, 4, labels, 8, balanced=True, seed=1)
    assert len(asked) == 1024
    assert np.bincount(chosen % 4).tolist() == [2, 2, 2, 2]
    assert len(set(chosen)) == 8


def test_too_few_images(digits):
    with pytest.raises(ConfigError, match=r"expected 1 to 1437 images to prune by.*received 1438"):
        prune_set(digits, 1438)
    with pytest.raises(ConfigError, match=r"expected 14\d training images in every class to prune by, found 1\d\d in"):
        prune_set(digits, 1430, balanced=True)
