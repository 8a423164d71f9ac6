"""Networks and images of the recorded searches."""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.models import shortcut_model
from tfprune.recipes.data import ImageData, load_data
from tfprune.recipes.ekg import EKGConfig
from tfprune.recipes.models import build_model, model_from_arrays
from tfprune.recipes.training import RunFolder

IMAGE_SHAPE = (32, 32, 3)


def golden_model(arrays: Mapping[str, np.ndarray], prefix: str, arch: str) -> keras.Model:
    """A network whose weights lie under a prefix of the golden file."""
    weights = {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix + "ResNet/")}
    return model_from_arrays(weights, arch=arch, num_classes=10, input_shape=IMAGE_SHAPE)


@pytest.fixture(scope="session")
def resnet56() -> keras.Model:
    """An untrained ResNet-56, for tests that read no weights."""
    return build_model("ResNet-56", num_classes=10, input_shape=IMAGE_SHAPE)


@pytest.fixture(scope="session")
def warmed_up(golden: Mapping[str, np.ndarray]) -> keras.Model:
    """ResNet-56 as the recorded search starts from it."""
    return golden_model(golden, "pft/", "ResNet-56")


@pytest.fixture(scope="session")
def resnet20(golden: Mapping[str, np.ndarray]) -> keras.Model:
    """The small network of the complete recorded search."""
    return golden_model(golden, "r20/r20/", "ResNet-20")


@pytest.fixture(scope="session")
def pretrained(pretrained_file: Path) -> keras.Model:
    """EKG's pretrained ResNet-56."""
    from tfprune.recipes.models import load_checkpoint

    return load_checkpoint(pretrained_file, arch="ResNet-56", num_classes=10, input_shape=IMAGE_SHAPE)


@pytest.fixture(scope="session")
def validation(tfds_folder: Path, golden: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The 320 images of the recorded search, normalised, and their labels."""
    data = load_data("CIFAR10", tfds_folder)
    index = golden["val_index"]
    return data.normalize(data.train_images[index]), data.train_labels[index]


@pytest.fixture(scope="session")
def tiny(few_digits: ImageData) -> keras.Model:
    """A `shortcut_model` that was trained a little."""
    model = shortcut_model()
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(few_digits.normalize(few_digits.train_images), few_digits.train_labels, 50, 8, verbose=0)
    return model


def tiny_config(**changes: object) -> EKGConfig:
    """Settings for `few_digits`."""
    defaults: dict[str, object] = {
        "dataset": "digits",
        "arch": "ResNet-20",
        "batch_size": 40,
        "val_batch_size": 50,
        "train_epoch": 2,
        "search_batch_size": 24,
        "search_images": 4,
        "pretrain_images": 12,
        "search_target_rate": 0.8,
    }
    return EKGConfig(**(defaults | changes))


@pytest.fixture
def run_folder(tmp_path: Path) -> RunFolder:
    """An empty run folder."""
    return RunFolder.create(tmp_path / "run", {})
