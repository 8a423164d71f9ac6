"""Data sets in memory, and their changed versions for the sanity checks."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from tfprune.errors import ConfigError
from tfprune.recipes.data import ImageData, data_fraction, load_data, random_labels, shuffled_pixels

CIFAR = {"mean": (113.9, 123.0, 125.3), "std": (66.7, 62.1, 63.0)}


@pytest.fixture
def data():
    images = np.zeros((2, 4, 5, 3), np.uint8)
    labels = np.zeros(2, np.int64)
    return ImageData("made up", 10, images, labels, images, labels, flip=True, crop_padding=1, **CIFAR)


def test_golden_normalization(data, golden):
    np.testing.assert_allclose(data.normalize(golden["test64_images"]), golden["test64_x"], atol=1e-6)
    np.testing.assert_allclose(data.normalize_tensor(golden["test64_images"]), golden["test64_x"], atol=1e-6)


def test_normalization_by_hand(data):
    pixel = np.array([[[255, 0, 123]]], np.uint8)
    expected = [[[(255 - 113.9) / 66.7, -123 / 62.1, (123 - 125.3) / 63]]]
    assert data.normalize(pixel).dtype == np.float32
    np.testing.assert_allclose(data.normalize(pixel), expected, rtol=1e-5)


def test_shape_and_frozen(data):
    assert data.input_shape == (4, 5, 3)
    with pytest.raises(AttributeError):
        data.flip = False


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def blank(count, classes):
    return ImageData(
        "blank", classes, np.zeros((count, 1, 1, 1), np.uint8), np.zeros(count, np.int64),
        np.zeros((1, 1, 1, 1), np.uint8), np.zeros(1, np.int64), (0.0,), (1.0,), False, 0,
    )  # fmt: skip


@pytest.mark.parametrize("classes", [10, 100])
def test_random_labels_are_those_of_the_original(golden_random_tickets, classes):
    labels = random_labels(blank(50_000, classes)).train_labels
    np.testing.assert_array_equal(labels[:50], golden_random_tickets[f"randlabel/c{classes}/first50"])
    np.testing.assert_array_equal(np.bincount(labels), golden_random_tickets[f"randlabel/c{classes}/hist"])
    digest = hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()
    assert digest == str(golden_random_tickets[f"randlabel/c{classes}/sha256_int64"])


def test_random_labels_leave_all_else(digits):
    other = random_labels(digits, seed=1)
    assert other.train_images is digits.train_images
    assert other.test_labels is digits.test_labels
    assert abs((other.train_labels == digits.train_labels).mean() - 0.1) < 0.03


@pytest.mark.parametrize("fixed", [False, True])
def test_shuffled_pixels_are_the_same_values(digits, fixed):
    other = shuffled_pixels(digits, seed=3, fixed=fixed)
    flat, moved = (each.train_images.reshape(len(each.train_images), -1) for each in (digits, other))
    np.testing.assert_array_equal(np.sort(flat, axis=1), np.sort(moved, axis=1))
    assert (flat != moved).mean() > 0.3
    assert other.test_images is digits.test_images
    np.testing.assert_array_equal(moved, shuffled_pixels(digits, seed=3, fixed=fixed).train_images.reshape(moved.shape))
    columns = sorted(map(bytes, flat.T)) == sorted(map(bytes, moved.T))
    assert columns is fixed  # one permutation for all moves whole columns


@pytest.mark.parametrize("fraction", [0.5, 0.1, 1.0])
def test_fraction_by_class(digits, fraction):
    part = data_fraction(digits, fraction, seed=2)
    whole, kept = (np.bincount(each.train_labels) for each in (digits, part))
    np.testing.assert_array_equal(kept, np.ceil(np.round(whole * fraction, 6)))
    assert len(part.train_images) == len(part.train_labels)
    assert part.test_labels is digits.test_labels
    for image, label in zip(part.train_images[:20], part.train_labels, strict=False):
        same = (digits.train_images == image).all(axis=(1, 2, 3))
        assert label in digits.train_labels[same]


def test_first_of_the_file(digits):
    part = data_fraction(digits, 0.25, first=True)
    np.testing.assert_array_equal(part.train_images, digits.train_images[:360])
    assert len(data_fraction(blank(50_000, 10), 0.4992, first=True).train_labels) == 24_960


@pytest.mark.parametrize("fraction", [0, -0.5, 1.01, float("nan")])
def test_bad_fractions(digits, fraction):
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        data_fraction(digits, fraction)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_labels": np.arange(8) % 4}, "made up: train_labels: expected whole numbers from 0 to 2, .* at .3.: 3"),
        ({"test_labels": np.zeros((8, 2), int)}, "made up: test_labels: expected class numbers"),
        ({"train_labels": np.zeros(7, int)}, "made up: train_images: expected as many as labels, received 8 and 7"),
        ({"train_images": np.zeros((8, 4, 4), np.uint8)}, r"made up: train_images: .* received shape \[8, 4, 4\]"),
        ({"test_images": np.zeros((8, 5, 4, 2), np.uint8)}, r"made up: test_images: .* received shape \[8, 5, 4, 2\]"),
        ({"train_images": np.full((8, 4, 4, 2), np.nan)}, "made up: train_images: expected finite numbers"),
        ({"train_images": np.array([None] * 8)}, "made up: train_images: expected real numbers"),
        ({"mean": (1.0,)}, r"made up: mean: expected 2 numbers, one for each channel, .* received \(1.0,\)"),
        ({"std": (1.0, 0.0)}, "made up: std: expected 2 numbers, .* above 0"),
        ({"std": (1.0, np.inf)}, "made up: std: expected finite numbers"),
    ],
)
def test_arrays_of_the_user_are_checked(changes, said):
    images, labels = np.zeros((8, 4, 4, 2), np.uint8), np.arange(8) % 3
    good = ImageData("made up", 3, images, labels, images, labels, (0.0, 0.0), (1.0, 1.0), False, 0)
    with pytest.raises(ConfigError, match=said):
        replace(good, **changes)
