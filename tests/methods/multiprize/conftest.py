"""A narrow network and a few digits."""

from dataclasses import replace

import numpy as np
import pytest

from tfprune.data import ImageData, load_data
from tfprune.methods.multiprize import MultiPrizeConfig, run


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
def tiny_world(few_digits, monkeypatch, tmp_path):
    """Runs the pipeline on a narrow Conv2; gives `run(**settings)`, every run in the folder `tmp_path/train_path`."""
    monkeypatch.chdir(tmp_path)

    def run_tiny(train_path: str | None = "run", **changes):
        settings = {"arch": "Conv2", "width_multiplier": 0.0625, "batch_size": 50, "epochs": 2, "export": False}
        settings |= {"do_log": 2, "seed": 3, "dataset": "digits", "learning_rate": 1.0}
        if not changes.get("dense"):
            settings["density"] = 0.3
        return run(MultiPrizeConfig(train_path=train_path, **settings | changes), few_digits)

    return run_tiny
