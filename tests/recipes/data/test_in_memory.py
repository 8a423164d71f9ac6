import numpy as np
import pytest

from tfprune.recipes.data import ImageData

CIFAR = {"mean": (113.9, 123.0, 125.3), "std": (66.7, 62.1, 63.0)}


@pytest.fixture
def data():
    images = np.zeros((2, 4, 5, 3), np.uint8)
    labels = np.zeros(2, np.int64)
    return ImageData("made up", 10, images, labels, images, labels, flip=True, crop_padding=1, **CIFAR)


def test_golden_normalisation(data, golden):
    np.testing.assert_allclose(data.normalize(golden["test64_images"]), golden["test64_x"], atol=1e-6)
    np.testing.assert_allclose(data.normalize_tensor(golden["test64_images"]), golden["test64_x"], atol=1e-6)


def test_by_hand(data):
    pixel = np.array([[[255, 0, 123]]], np.uint8)
    expected = [[[(255 - 113.9) / 66.7, -123 / 62.1, (123 - 125.3) / 63]]]
    assert data.normalize(pixel).dtype == np.float32
    np.testing.assert_allclose(data.normalize(pixel), expected, rtol=1e-5)


def test_shape_and_frozen(data):
    assert data.input_shape == (4, 5, 3)
    with pytest.raises(AttributeError):
        data.flip = False
