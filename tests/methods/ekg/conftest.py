"""Networks and images of the recorded searches."""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pytest

from tfprune.data import load_data
from tfprune.models import model_from_arrays

IMAGE_SHAPE = (32, 32, 3)


def golden_model(arrays: Mapping[str, np.ndarray], prefix: str, arch: str) -> keras.Model:
    """A network whose weights lie under a prefix of the golden file."""
    weights = {
        name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix + "ResNet/")
    }
    return model_from_arrays(weights, arch=arch, num_classes=10, input_shape=IMAGE_SHAPE)


@pytest.fixture(scope="session")
def warmed_up(golden: Mapping[str, np.ndarray]) -> keras.Model:
    """ResNet-56 as the recorded search starts from it."""
    return golden_model(golden, "pft/", "ResNet-56")


@pytest.fixture(scope="session")
def resnet20(golden: Mapping[str, np.ndarray]) -> keras.Model:
    """The small network of the complete recorded search."""
    return golden_model(golden, "r20/r20/", "ResNet-20")


@pytest.fixture(scope="session")
def pretrained(shared: Path) -> keras.Model:
    """EKG's pretrained ResNet-56."""
    from tfprune.models import load_checkpoint

    path = shared / "data" / "ekg" / "res56_cifar10.pkl"
    return load_checkpoint(path, arch="ResNet-56", num_classes=10, input_shape=IMAGE_SHAPE)


@pytest.fixture(scope="session")
def validation(shared: Path, golden: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The 320 images of the recorded search, normalised, and their labels."""
    data = load_data("CIFAR10", shared / "data" / "tfds")
    index = golden["val_index"]
    return data.normalize(data.train_images[index]), data.train_labels[index]
