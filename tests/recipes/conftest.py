"""What tests of all methods start from."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from tfprune.recipes.data import ImageData, load_data


@pytest.fixture(scope="session")
def few_digits() -> ImageData:
    """A corner of the digits: 20 training images of every class, 60 test images."""
    data = load_data("digits")
    some = np.sort(np.concatenate([np.flatnonzero(data.train_labels == label)[:20] for label in range(10)]))
    return replace(
        data,
        train_images=data.train_images[some],
        train_labels=data.train_labels[some],
        test_images=data.test_images[:60],
        test_labels=data.test_labels[:60],
    )


@pytest.fixture
def float64():
    """Layers that are made in the test compute in float64."""
    old = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(old)
